"""OAuth 2.0: what clients, resource servers and their libraries ask for by its standards."""
