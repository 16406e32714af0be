"""Settings of the server: their declaration, their sources, and help about them."""
