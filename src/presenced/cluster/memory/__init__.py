"""Store in memory for several nodes in one process: for tests and for the simulation."""
