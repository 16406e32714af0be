"""Version of the client, which is independent of the server's."""

__version__ = "0.1.0"
