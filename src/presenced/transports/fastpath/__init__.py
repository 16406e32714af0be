"""Writes of one batch to many sockets past their transports, optionally with the help of other processes."""
