"""Parameters, a difference and a git repository for the tests of the gate."""

from pathlib import Path

import msgspec

from modelyard.core.dvc_lock import hash_path
from modelyard.core.files import md5, write_json
from modelyard.core.params import DataParams, EvaluateParams, GateParams, Params, TrainParams
from modelyard.core.paths import DATA_JSON, DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.statistics.comparison import Difference

PARAMS = Params(
    data=DataParams(path="t.parquet", target="y", task="classification", features=["x"]),
    train=TrainParams("sklearn.linear_model.LogisticRegression"),
    evaluate=EvaluateParams("roc_auc"),
)


def make_difference(difference: float, error: float = 0.005) -> Difference:
    low, high = difference - 1.96 * error, difference + 1.96 * error
    return Difference("roc_auc", 0.7, 0.7 + difference, difference, low, high, error, "DeLong", margin=0.01)


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


def change(section: str, **values: object) -> None:
    """Change values in a section of params.yaml."""
    params = read_yaml(PARAMS_YAML)
    params[section].update(values)
    PARAMS_YAML.write_text(dump_yaml(params), encoding="utf-8")


def train(**arguments: object) -> None:
    """Leave what a run of the pipeline leaves: a model of its own for these arguments, and the dvc.lock."""
    change("train", **arguments)
    params = read_yaml(PARAMS_YAML)
    MODEL_FILE.parent.mkdir(exist_ok=True)
    MODEL_FILE.write_text(repr((params["train"], params["split"], Path("src/p.py").read_text())))
    deps = [{"path": name, "md5": hash_path(Path(name))} for name in ("src", str(SCHEMA_YAML))]
    stages = {
        "split": {"params": {"params.yaml": {name: params[name] for name in ("data", "split")}}},
        "train": {
            "deps": deps,
            "params": {"params.yaml": {name: params[name] for name in ("data", "seed", "train")}},
            "outs": [{"path": str(MODEL_FILE), "md5": md5(MODEL_FILE)}],
        },
    }
    write_json(DVC_LOCK, {"stages": stages})  # JSON is YAML


def make_repository() -> None:
    """Make a repository of the current folder, with one trained model on `main`."""
    params = {
        "data": {"path": "t", "target": "y", "time": None},
        "seed": 0,
        "split": {"seed": 0},
        "train": {"depth": 1},
    }
    PARAMS_YAML.write_text(dump_yaml({**params, "gate": {"margin": None}}))
    SCHEMA_YAML.write_text("columns: {}\n")
    Path("src").mkdir()
    Path("src/p.py").write_text("x = 1\n")
    Path(".gitignore").write_text("/models/\n")
    write_json(DATA_JSON, {"rows": 100})
    train()
    commit_all("first")
