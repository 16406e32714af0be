"""Several nodes that behave like one server, through a store that they share."""
