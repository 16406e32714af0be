"""Writing the same bytes to many sockets past their transports, with helper processes if there are any."""
