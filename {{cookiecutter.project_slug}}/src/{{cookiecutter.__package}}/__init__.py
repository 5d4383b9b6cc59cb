"""The code of this project: where rows come from, features, model and metrics."""
