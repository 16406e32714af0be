"""Storing the changes of the cluster in its database."""
