"""The command `presenced`."""
