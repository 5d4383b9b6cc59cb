"""The rival: one script that does the pipeline's work with no DVC, no MLflow and no stages.

Run as `python bare.py TABLE SCHEMA OUT`: the same checks, split, model, metrics and files.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

TEXT = ["carrier", "origin", "dest"]
LEFT_OUT = ["late", "flight", "scheduled"]


def features(raw: pd.DataFrame) -> pd.DataFrame:
    """Hour and weekday of the scheduled departure beside what is known before it."""
    moment = raw["scheduled"].dt
    table = raw.drop(columns=LEFT_OUT)
    table["hour"] = moment.hour + moment.minute / 60
    table["weekday"] = moment.day_of_week.astype("float64")
    return table.assign(**{name: table[name].astype("object") for name in TEXT})


def model(numbers: list[str]) -> Pipeline:
    """The default project's pipeline."""
    codes = OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        encoded_missing_value=np.nan,
        min_frequency=10,
        max_categories=250,
    )
    columns = ColumnTransformer([("n", "passthrough", numbers), ("t", codes, TEXT)])
    boosting = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=150, max_leaf_nodes=15, l2_regularization=1.0, random_state=0
    )
    return Pipeline([("columns", columns), ("estimator", boosting)])


def scores(truth: pd.Series, chance: np.ndarray) -> dict[str, float]:
    """The metrics of the default project."""
    said = chance > 0.5
    return {
        "roc_auc": roc_auc_score(truth, chance),
        "average_precision": average_precision_score(truth, chance),
        "log_loss": log_loss(truth, chance),
        "brier": brier_score_loss(truth, chance),
        "accuracy": accuracy_score(truth, said),
        "balanced_accuracy": balanced_accuracy_score(truth, said),
        "f1": f1_score(truth, said),
    }


def main(table: str, schema: str, out: str) -> None:
    """Check, split, train, evaluate, save."""
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    raw = pa.DataFrameSchema.from_yaml(Path(schema)).validate(pd.read_parquet(table), lazy=True)
    border = raw["scheduled"].sort_values(kind="stable").iloc[int(len(raw) * 0.8)]
    train, holdout = raw[raw["scheduled"] < border], raw[raw["scheduled"] >= border]
    train.to_parquet(folder / "train.parquet")
    holdout.to_parquet(folder / "holdout.parquet")
    inputs = features(train)
    pipeline = model([name for name in inputs if name not in TEXT]).fit(inputs, train["late"])
    chance = pipeline.predict_proba(features(holdout))[:, 1]
    skops.io.dump(pipeline, folder / "model.skops")
    (folder / "metrics.json").write_text(json.dumps(scores(holdout["late"], chance)))
    for name, curve in (("roc", roc_curve), ("pr", precision_recall_curve)):
        points = curve(holdout["late"], chance)
        np.savetxt(folder / f"{name}.csv", np.column_stack([points[0], points[1]]), delimiter=",")
    holdout.assign(chance=chance).to_parquet(folder / "predictions.parquet")


if __name__ == "__main__":
    main(*sys.argv[1:])
