"""The files of a project that more than one module reads or writes, relative to the project's folder."""

from pathlib import Path

# What the user writes.
PARAMS_YAML = Path("params.yaml")
SCHEMA_YAML = Path("schema.yaml")

# The library, as a project carries it.
LIBRARY_FOLDER = Path("packages/modelyard/src")

# What the pipeline writes; git keeps dvc.lock and the small reports, DVC keeps the rest.
DVC_LOCK = Path("dvc.lock")
DATA_JSON = Path("reports/data.json")
TRAIN_PARQUET = Path("data/train.parquet")
HOLDOUT_PARQUET = Path("data/holdout.parquet")
MODEL_FILE = Path("models/model.skops")
ROW_HASHES_FILE = Path("models/rows.npy")
METRICS_JSON = Path("reports/metrics.json")
PREDICTIONS_PARQUET = Path("reports/predictions.parquet")
PLOTS_FOLDER = Path("reports/plots")

# Seconds and memory of the last training. They differ between machines, so git does not keep them.
TRAINING_JSON = Path("reports/training.json")

# What the gate writes for a pull request.
VERDICT_JSON = Path("reports/verdict.json")
REPORT_MARKDOWN = Path("reports/report.md")
