"""The OAuth authorization server: the token endpoint and the endpoints that belong to it."""
