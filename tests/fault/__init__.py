"""Guests that are killed at each fault point of the library."""
