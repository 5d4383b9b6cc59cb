"""Parameters, a difference and a git repository for the tests of the gate."""

from pathlib import Path

import msgspec

from modelyard.core.params import DataParams, EvaluateParams, GateParams, Params, TrainParams
from modelyard.core.process import run_git
from modelyard.statistics.comparison import Difference

PARAMS = Params(
    data=DataParams(path="t.parquet", target="y", task="classification", features=["x"]),
    train=TrainParams("sklearn.linear_model.LogisticRegression"),
    evaluate=EvaluateParams("roc_auc"),
)


def make_difference(difference: float, error: float = 0.005) -> Difference:
    low, high = difference - 1.96 * error, difference + 1.96 * error
    return Difference("roc_auc", 0.7, 0.7 + difference, difference, low, high, error, "DeLong")


def make_params(**gate: object) -> Params:
    return msgspec.structs.replace(PARAMS, gate=GateParams(**gate))  # type: ignore[arg-type]


def commit_all(message: str = "commit") -> str:
    """Commit everything in the current folder, and return the commit."""
    if not Path(".git").exists():
        run_git("init", "--quiet", "--initial-branch", "main")
        run_git("config", "user.name", "Test")
        run_git("config", "user.email", "test@example.com")
    run_git("add", "--all")
    run_git("commit", "--quiet", "--allow-empty", "--message", message)
    return run_git("rev-parse", "HEAD")
