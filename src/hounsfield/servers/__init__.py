"""Each translates one protocol into calls of services."""
