"""Measurements that hold up what the documentation says."""
