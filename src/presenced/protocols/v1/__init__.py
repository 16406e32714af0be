"""The protocol presenced.v1 (`spec/protocol-v1.md`)."""
