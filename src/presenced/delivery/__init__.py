"""Delivery of events to connections: their interfaces, and the broadcaster."""
