"""Let a model predict in an empty folder: the only place where a branch's code runs while it is judged.

The folder holds the model file, `src/<package>`, the project's settings and a copy of the library, and of the rows the
columns that the model may see. What comes back is a table, and every part of it is checked.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

import modelyard
from modelyard.core.errors import ToolError, UserError
from modelyard.core.files import read_json
from modelyard.core.paths import LIBRARY_FOLDER, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.predictions import PREDICTION_COLUMN, Predictions, is_probability_column, read_class_names
from modelyard.core.process import last_error_line, run_git, run_process
from modelyard.core.project import PYPROJECT_TOML, Project
from modelyard.core.protocol import GATE_RULES_VARIABLE
from modelyard.core.yaml import read_yaml
from modelyard.gate import confine
from modelyard.pipeline.predict import ROW_COLUMN

SETTINGS = (PYPROJECT_TOML, PARAMS_YAML, SCHEMA_YAML)
KEPT_VARIABLES = ("DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SYSTEMROOT", "TZ")
SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/nix/store", "/etc", "/proc", "/sys")
SITE_FOLDERS = ("site-packages", "dist-packages")
LEVEL_FILE = "confinement"  # beside the scratch folder, where the model's code cannot write
SUM_TOLERANCE = 1e-3  # of a row's probabilities: single precision, and many classes


class ModelOutputError(UserError):
    """A model's own code returned something else than one prediction for each row.

    Parameters
    ----------
    role
        `candidate` or `champion`.
    problem
        What it returned, as the rest of a sentence.
    """

    def __init__(self, role: str, problem: str) -> None:
        super().__init__(f"the {role} {problem}")
        self.role = role


class UnconfinedError(UserError):
    """A model's own code is not started, since this machine cannot confine it.

    Parameters
    ----------
    level
        What this machine can confine it by.
    """

    def __init__(self, level: str) -> None:
        super().__init__(
            f"in a workflow, a branch's code must be confined by {confine.FULL_CONFINEMENT}, and this runner has "
            f"{level}; use one with Linux 5.13 or newer on x86-64 or arm64, such as ubuntu-latest, outside of a "
            "container that forbids them"
        )
        self.level = level


@dataclass(frozen=True)
class ModelOutput:
    """What a model returned for the rows.

    Parameters
    ----------
    predictions
        One prediction for each row.
    confinement
        What confined that process: `landlock and seccomp`, one of them, or `none`.
    milliseconds
        The CPU time of one row as that process reports it; None where it was not measured.
    """

    predictions: Predictions
    confinement: str
    milliseconds: float | None = None


def predict_in_scratch(
    role: str, project: Path, rows: pd.DataFrame, target: str, task: str, *, is_timed: bool = False
) -> ModelOutput:
    """Return the predictions of raw rows by a project's model and own code, in a confined process.

    Parameters
    ----------
    role
        `candidate` or `champion`, for error messages.
    project
        The folder of a project. Its own library predicts where it is a checkout, else the one that runs here.
    rows
        Raw rows, n of them.
    target
        The column that the model never sees.
    task
        `classification` or `regression`.
    is_timed
        Whether the CPU time of a row is measured.

    Raises
    ------
    ModelOutputError
        The model wants the target, or returns something else than n predictions.
    ToolError
        Its code fails.
    UnconfinedError
        This is a workflow's run on a machine that cannot confine it.
    """
    features = read_yaml(project / PARAMS_YAML)["data"]["features"]
    if target in features:
        raise ModelOutputError(role, f"wants to see {target}, which it predicts; take it out of data.features")
    with tempfile.TemporaryDirectory(prefix="scratch-") as name:
        scratch = Path(name).resolve() / "scratch"
        copy_model(project, scratch / "project")
        copy_library(project, scratch / "library")
        visible = [column for column in features if column in rows]
        rows[visible].reset_index(drop=True).to_parquet(scratch / "rows.parquet", index=False)
        # One command for both models, timed or not: code that knows which it is could answer worse as the champion.
        options = ["--rows", "../rows.parquet", "--out", "../predictions.parquet", "--times", "../times.json"]
        confinement = run_confined(role, scratch, [sys.executable, "-P", "-S", "-m", "modelyard", "predict", *options])
        predictions = read_predictions(scratch / "predictions.parquet", role, task, len(rows))
        milliseconds = read_milliseconds(scratch / "times.json", role) if is_timed else None
        return ModelOutput(predictions, confinement, milliseconds)


def copy_model(project: Path, folder: Path) -> None:
    """Copy what a prediction needs of a project: model, settings, and the files of its package that git may keep."""
    package = Project.load(project).package
    files = run_git("ls-files", "-z", "--cached", "--others", "--exclude-standard", f"src/{package}", cwd=project)
    for path in (MODEL_FILE, *SETTINGS, *map(Path, filter(None, files.split("\0")))):
        if (project / path).exists():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project / path, folder / path, follow_symlinks=False)


def copy_library(project: Path, folder: Path) -> None:
    """Copy the library that predicts, so that its place says nothing about where data may be."""
    here = Path(modelyard.__file__).parent
    carried = project / LIBRARY_FOLDER / here.name
    is_checkout = project.resolve() != Path.cwd() and carried.is_dir()
    shutil.copytree(carried if is_checkout else here, folder / here.name)


def run_confined(role: str, scratch: Path, command: list[str]) -> str:
    """Run a command that may read and write in the scratch folder only, and return what confined it.

    Raises
    ------
    ToolError
        It fails.
    UnconfinedError
        It was not started, since this machine cannot confine it.
    """
    for name in ("home", "tmp"):
        (scratch / name).mkdir()
    sites = [path for path in sys.path if Path(path).name in SITE_FOLDERS]
    env = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    env |= {"PATH": "/usr/bin:/bin", "HOME": str(scratch / "home"), "TMPDIR": str(scratch / "tmp")}
    # One value for both models: code that knows which one it is could answer worse as the champion.
    env |= {"PYTHONPATH": os.pathsep.join([str(scratch / "library"), *sites]), GATE_RULES_VARIABLE: "scratch"}
    libraries = filter(None, env.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    readable = [sys.prefix, sys.base_prefix, *sites, *libraries, *SYSTEM_FOLDERS]
    level_file = scratch.with_name(LEVEL_FILE)
    needed = find_needed_confinement(os.environ)
    launcher = [sys.executable, "-I", "-S", confine.__file__, str(level_file), needed, str(scratch), *readable, "--"]
    done = run_process([*launcher, *command], cwd=scratch / "project", env=env, inherit=False, text="")
    level = level_file.read_text(encoding="ascii")
    if needed not in (confine.NO_CONFINEMENT, level):
        raise UnconfinedError(level)
    if done.returncode:
        raise ToolError(f"the {role}'s model", last_error_line(done.stderr or done.stdout))
    return level


def find_needed_confinement(env: Mapping[str, str]) -> str:
    """Return what must confine a model's code: all that Linux can, where this is a workflow."""
    is_workflow = sys.platform == "linux" and env.get("GITHUB_ACTIONS") == "true"
    return confine.FULL_CONFINEMENT if is_workflow else confine.NO_CONFINEMENT


def read_predictions(path: Path, role: str, task: str, count: int) -> Predictions:
    """Return the predictions in a table that foreign code wrote, after a look at everything that they must be.

    Parameters
    ----------
    path
        The Parquet file.
    role
        Whose predictions they are.
    task
        `classification` or `regression`.
    count
        The number of rows that were to be predicted.
    """
    table = read_numbers(path, role, task, count)
    if ROW_COLUMN in table and not np.array_equal(table.pop(ROW_COLUMN), np.arange(count)):
        raise ModelOutputError(role, "returned the rows in another order; its features() must keep every row's place")
    values = table.to_numpy(dtype=float)
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise ModelOutputError(role, f"predicts a missing or infinite value for row {row:,} of the holdout")
    if task != "classification":
        return Predictions(values[:, 0])
    if values.min(initial=0) < 0 or np.abs(values.sum(axis=1) - 1).max(initial=0) > SUM_TOLERANCE:
        raise ModelOutputError(role, "returned probabilities that are below 0 or do not sum to 1")
    return Predictions.from_probabilities(values, np.array(read_class_names(table), dtype=object))


def read_numbers(path: Path, role: str, task: str, count: int) -> pd.DataFrame:
    """Return the columns with the numbers of each row, and that with its place; the size is checked before reading."""
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            if file.metadata.num_rows != count:
                problem = f"returned {file.metadata.num_rows:,} predictions for {count:,} rows"
                raise ModelOutputError(role, f"{problem}; its features() must keep every row")
            is_wanted = is_probability_column if task == "classification" else PREDICTION_COLUMN.__eq__
            wanted = [name for name in schema.names if is_wanted(name)]
            columns = [name for name in (*wanted, ROW_COLUMN) if name in schema.names]
            numeric = [name for name in columns if _is_number(schema.field(name).type)]
            if not wanted or numeric != columns or len(set(columns)) < len(columns):
                raise ModelOutputError(role, f"returned no numbers for {task}, but {', '.join(schema.names)[:200]}")
            return pd.DataFrame({name: file.read([name])[name].to_numpy() for name in columns})
    except (OSError, KeyError, ValueError) as problem:
        raise ModelOutputError(role, f"returned no table of predictions ({problem})") from None


def _is_number(kind: pa.DataType) -> bool:
    """Whether a type of Arrow is that of numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def read_milliseconds(path: Path, role: str) -> float:
    """Return the CPU time of a row that the process wrote."""
    try:
        return float(read_json(path)["milliseconds"])
    except (OSError, ValueError, TypeError, KeyError):
        raise ModelOutputError(role, "reported no time of a row") from None
