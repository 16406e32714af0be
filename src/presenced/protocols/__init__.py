"""Protocols that clients speak: messages, feeds, and what they need of a connection."""
