"""The Python client for Ostiary's management API. It imports only `core`."""
