"""A verdict of the gate for the tests of the report."""

from typing import Any

VERDICT: dict[str, Any] = {
    "verdict": "worse",
    "decision": "block",
    "sentence": "Worse than the champion: roc_auc 0.69 against 0.71.",
    "notes": ["This branch changes the rules (`gate`); it was judged by the base's."],
    "base": "b" * 40,
    "rules_from": "b" * 40,
    "champion": {"model": None, "commit": None, "source": "dummy"},
    "candidate": {"model": "a" * 64, "commit": "c" * 40},
    "primary": {"metric": "roc_auc", "margin": 0.01, "detectable": 0.012, "confidence": 0.95},
    "rows": {"compared": 4092, "clusters": {"day": 74}, "widening": 1.414},
    "metrics": [
        {"metric": name, "champion": 0.71, "candidate": 0.69, "difference": -0.02, "low": -0.03, "high": -0.01}
        for name in ("log_loss", "roc_auc")
    ],
    "rules": [{"name": "floor", "passed": False, "blocking": True, "sentence": "roc_auc 0.69 < 0.7"}],
    "slices": [],
    "changes": {"parameters": {"train.max_iter": [150, 15]}, "schema": {}, "data": {}},
}
