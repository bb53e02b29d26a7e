"""OAuth: the token endpoint and what belongs to it."""
