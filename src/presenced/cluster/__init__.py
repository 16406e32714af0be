"""Several nodes that behave like one server, through a store that they share."""

NO_LIBRARY = "backend needs the package redis: pip install 'presenced[redis]'"
"""Error message if the client library of the store is not installed."""
