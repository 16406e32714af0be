"""Settings of the server: their declaration, their sources, and the texts about them in `--help` and errors."""
