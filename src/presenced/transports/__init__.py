"""Bytes to events and back: the HTTP front door, the handshake, and one open WebSocket. No presence rules."""
