"""The operations: one function `(tx, caller, …)` for each. Every permission is checked here."""
