"""Authentication: which user a token belongs to, and what that user may see and do."""
