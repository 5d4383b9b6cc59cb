"""Follows a model back to its data, states what it was made of, and checks signatures and dvc.lock."""
