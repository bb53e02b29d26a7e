"""Authenticates and authorizes credentials: lookup, proof, verdict, rate limit and usage. Contains no HTTP."""
