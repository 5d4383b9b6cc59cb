"""Trains again when that is due, and searches better arguments for the estimator."""
