"""Deep Search: questions answered by searching and visiting."""
