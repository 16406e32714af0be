"""Store in Redis or Valkey."""
