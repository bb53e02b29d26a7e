"""The only SQL of Ostiary: rows in, rows out. No rule is decided here."""
