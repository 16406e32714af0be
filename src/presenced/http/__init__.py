"""HTTP: the ASGI application, health checks, and the API for backends."""
