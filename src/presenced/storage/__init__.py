"""What is kept when the server has ended: facts, written behind by a process of their own, the keeper."""
