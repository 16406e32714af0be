"""The Python interface of a server in your own program: what `PresenceServer` offers while it runs."""
