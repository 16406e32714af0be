"""A node's replica of one shard: pure rules."""
