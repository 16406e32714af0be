"""The keeper: a process of its own that has the database, so that the live service never waits for one."""
