"""The HTTP API for backends, version 1: `table.py` has it all on one page."""
