"""The rules of Ostiary as pure functions and frozen facts: no I/O, no clock, no randomness, no framework."""
