"""The HTTP API for backends, version 1: `routes` lists its endpoints, `dispatch` processes each request."""
