"""HTTP/1.1 (RFC 9112) as a server needs it: the head of a request, its body, and its answer by ASGI."""
