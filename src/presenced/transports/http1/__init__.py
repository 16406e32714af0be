"""HTTP/1.1 for a server (RFC 9112): request heads, request bodies, and responses through ASGI."""
