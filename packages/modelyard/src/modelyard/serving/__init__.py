"""The HTTP service: predictions with their log, metrics and shadow, and the smoke test from beside it."""
