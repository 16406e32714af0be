"""The protocol presenced.v1 (`docs/reference/websocket-v1.md`)."""
