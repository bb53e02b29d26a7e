"""What answers on the network: the hot path, the management API, and the server that carries them."""
