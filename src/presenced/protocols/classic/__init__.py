"""The classic protocol (`docs/reference/websocket-classic.md`)."""
