"""The `ostiary` command: remote commands over `client`, local ones over the data directory."""
