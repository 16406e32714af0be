"""Records to bytes. No decisions: what to say and to whom is decided elsewhere."""
