"""The HTTP API for backends, version 1: `routes` lists its endpoints, `dispatch` describes the way of a request."""
