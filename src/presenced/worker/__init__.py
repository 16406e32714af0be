"""Storage worker: a process that owns the database and delivers webhooks, so that the live process never waits."""
