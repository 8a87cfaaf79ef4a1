"""HTTP: one client, one retry policy, one set of retryable statuses."""
