"""Rows in, rows out: the only SQL of Ostiary. No rule is decided here."""
