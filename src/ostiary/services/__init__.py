"""One function for each thing a caller can ask: always `(tx, caller, …)`. Every permission is decided here."""
