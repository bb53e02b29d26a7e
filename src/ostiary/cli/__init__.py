"""The `ostiary` command: remote commands call the API through `client`, local ones use the data directory."""
