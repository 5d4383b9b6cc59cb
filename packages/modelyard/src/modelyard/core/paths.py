"""TODO doc."""

from pathlib import Path

PRODUCTION_YAML = "deploy/production.yaml"
PARAMS_YAML = Path("params.yaml")
SCHEMA_YAML = Path("schema.yaml")
DVC_LOCK = Path("dvc.lock")
DATA_JSON = Path("reports/data.json")
TRAIN_PARQUET = Path("data/train.parquet")
HOLDOUT_PARQUET = Path("data/holdout.parquet")
MODEL_FILE = Path("models/model.skops")
ROW_HASHES_FILE = Path("models/rows.npy")
METRICS_JSON = Path("reports/metrics.json")
PREDICTIONS_PARQUET = Path("reports/predictions.parquet")
TRAINING_JSON = Path("reports/training.json")  # what it took here; no two machines agree, so git does not keep it
PLOTS_FOLDER = Path("reports/plots")
VERDICT_JSON = Path("reports/verdict.json")
REPORT_MARKDOWN = Path("reports/report.md")
LIBRARY_FOLDER = Path("packages/modelyard/src")
