"""Who somebody is, where they come from, and whether that is allowed. Answers are values; no sockets."""
