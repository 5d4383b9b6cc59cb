"""Metrics, the comparison of two models, and drift: pure functions of arrays."""
