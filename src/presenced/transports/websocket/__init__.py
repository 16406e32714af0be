"""WebSockets (RFC 6455): the handshake, frames, and one open connection."""
