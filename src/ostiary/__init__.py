"""Ostiary issues, verifies and watches over machine credentials."""
