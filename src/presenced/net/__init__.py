"""Addresses, origins, host names, limits for one address, and outgoing HTTP requests."""
