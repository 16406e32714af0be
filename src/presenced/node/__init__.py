"""One running server: connections, broadcasting, heartbeats, shutdown, and the service that applications call."""
