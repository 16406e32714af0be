"""The classic protocol (`spec/protocol.md`)."""
