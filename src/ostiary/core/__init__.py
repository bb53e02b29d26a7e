"""The rules of Ostiary: pure functions on frozen dataclasses. No I/O, no clock, no randomness, no framework."""
