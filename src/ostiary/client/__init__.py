"""The Python client of Ostiary's management API. It imports `core` only."""
