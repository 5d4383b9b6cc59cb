"""TODO doc."""

from pathlib import Path

PRODUCTION = "deploy/production.yaml"
PARAMS = Path("params.yaml")
SCHEMA = Path("schema.yaml")
LOCK = Path("dvc.lock")
DATA = Path("reports/data.json")
TRAIN = Path("data/train.parquet")
HOLDOUT = Path("data/holdout.parquet")
MODEL = Path("models/model.skops")
ROWS = Path("models/rows.npy")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
TRAINING = Path("reports/training.json")  # what it took here; no two machines agree, so git does not keep it
PLOTS = Path("reports/plots")
VERDICT = Path("reports/verdict.json")
REPORT = Path("reports/report.md")
LIBRARY = Path("packages/modelyard/src")
