"""Compare what the service predicts with what the deployed model was trained on: drift, performance, data quality."""
