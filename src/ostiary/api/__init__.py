"""The management API under `/v1`: a table of routes and small handlers. No rule is decided here."""
