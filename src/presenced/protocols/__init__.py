"""Protocols that clients speak: messages, feeds and handlers."""
