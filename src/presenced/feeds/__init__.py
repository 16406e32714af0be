"""What watchers are sent: one module per protocol."""
