"""What monitoring compares: the rows that the deployed model learned from, and windows of what it was asked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from modelyard.core import dvc_lock, git_objects, model_at, paths
from modelyard.core.errors import UserError
from modelyard.core.files import sha256
from modelyard.core.params import MonitorParams, Params, parse_duration
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, MODEL_FILE, PREDICTIONS_PARQUET, TRAIN_PARQUET
from modelyard.core.predictions import to_log_column
from modelyard.core.process import DVC_COMMAND
from modelyard.core.project import Project
from modelyard.monitoring import log_reader
from modelyard.statistics import drift

REFERENCE_ROWS = 20_000  # drawn from the training rows
MAX_LABELS = 100_000  # drawn from the feedback
WINDOW_ORIGIN = pd.Timestamp("1970-01-05", tz="UTC")
REFERENCE_FILES = (TRAIN_PARQUET, HOLDOUT_PARQUET, PREDICTIONS_PARQUET)
LOG_COLUMNS = ("id", "time", "model", "prediction")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ReferenceData:
    """What a model learned from, as raw columns and as features; what it said of its holdout; stretches of both."""

    model: str
    raw: pd.DataFrame
    table: pd.DataFrame
    predictions: pd.DataFrame
    learned: Sequence[Array] = ()
    held: Sequence[Array] = ()


@dataclass(frozen=True)
class Window:
    """A stretch of time: how many predictions there were, a sample of them, and one of those with truth.

    `raw` are the sample's rows with the reference's types, `unread` the share of each column that has no such value.
    """

    start: pd.Timestamp
    rows: int
    sample: pd.DataFrame
    labelled: pd.DataFrame
    raw: pd.DataFrame
    unreadable_shares: dict[str, float]


def locate_reference_files(deployed: dict[str, Any] | None) -> tuple[str, dict[Path, Path]]:
    """A model's digest, and where its rows and predictions lie: here, or in DVC's cache for one that is deployed."""
    if not deployed or (MODEL_FILE.exists() and sha256(MODEL_FILE) == deployed["model"]):
        if missing := [str(path) for path in (MODEL_FILE, *REFERENCE_FILES) if not path.exists()]:
            raise UserError(f"there is nothing to compare with: {', '.join(missing)} missing; `make pipeline` makes it")
        return sha256(MODEL_FILE), {path: path for path in REFERENCE_FILES}
    commit = deployed["commit"]
    outs = dvc_lock.get_hashes(git_objects.read_yaml_at(commit, DVC_LOCK) or {})
    places = {path: dvc_lock.get_cache_path(outs.get(str(path))) for path in REFERENCE_FILES}
    if not all(place.is_file() for place in places.values()):
        with git_objects.checkout_commit(commit) as project:
            model_at.run_in_checkout(project, *DVC_COMMAND, "repro", "evaluate")
    if not all(place.is_file() for place in places.values()):
        raise UserError(f"the rows of the deployed model are gone; check out {commit[:12]} and `make pipeline` there")
    return str(deployed["model"]), places


def split_into_periods(times: pd.Series, rules: MonitorParams) -> list[Array]:
    """The rows of each stretch of time as long as a window, where they are enough."""
    width = pd.Timedelta(parse_duration(rules.window)).as_unit("ns").value
    return drift.group_rows_by_period(times.astype("datetime64[ns]").astype("int64").to_numpy(), width, rules.minimum)


def load_reference(params: Params) -> ReferenceData:
    """The reference of the deployed model, else of the one here, in samples of fixed size."""
    model, places = locate_reference_files(
        (git_objects.read_yaml_at("HEAD", paths.PRODUCTION_YAML) or {}).get("champion")
    )
    data, rules = params.data, params.monitor
    wanted = dict.fromkeys([*data.features, *filter(None, [data.time])])
    whole = pq.read_table(places[TRAIN_PARQUET], columns=list(wanted), use_threads=False)
    chosen = np.sort(np.random.default_rng(0).choice(len(whole), min(REFERENCE_ROWS, len(whole)), replace=False))
    rows, said = whole.take(chosen).to_pandas().reset_index(drop=True), pd.read_parquet(places[PREDICTIONS_PARQUET])
    raw = rows[data.features]
    if not data.time:
        return ReferenceData(model, raw, Project.load().features(raw), said)
    held = pd.read_parquet(places[HOLDOUT_PARQUET], columns=[data.time])[data.time]
    return ReferenceData(
        model,
        raw,
        Project.load().features(raw),
        said,
        split_into_periods(rows[data.time], rules),
        split_into_periods(held, rules),
    )


def cast_column(logged: pd.Series, like: pd.Series) -> pd.Series:
    """Logged values as the type of a column; what is no such value becomes missing."""
    if pd.api.types.is_datetime64_any_dtype(like):
        times = pd.to_datetime(logged, errors="coerce", format="ISO8601", utc=True)
        return times if getattr(like.dt, "tz", None) else times.dt.tz_localize(None)
    if pd.api.types.is_bool_dtype(like) or not pd.api.types.is_numeric_dtype(like):
        return logged.astype("str")
    return pd.to_numeric(logged, errors="coerce")


def cast_columns(frame: pd.DataFrame, like: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Logged rows with the reference's columns and types; for each column the share that has no such value."""
    if frame.empty:
        return like.head(0), dict.fromkeys(map(str, like), 0.0)
    table, unread = {}, {}
    for name in map(str, like):
        there = to_log_column(name) in frame
        logged = frame[to_log_column(name)] if there else pd.Series(None, index=frame.index, dtype="object")
        table[name] = cast_column(logged, like[name])
        unread[name] = float((table[name].isna() & logged.notna()).mean())
    return pd.DataFrame(table), unread


class WindowCollector:
    """Samples of each whole window's predictions, filled part by part; windows lie on one grid from Monday on."""

    def __init__(self, params: Params, model: str, now: pd.Timestamp, size: int) -> None:
        rules, self.width = params.monitor, pd.Timedelta(parse_duration(params.monitor.window))
        self.model, self.now, self.tally = model, now, log_reader.ReadStats()
        end = WINDOW_ORIGIN + (now - WINDOW_ORIGIN) // self.width * self.width
        self.starts = [end - self.width * i for i in range(rules.history, 0, -1)]
        self.window_samples = [log_reader.HashSample(size) for _ in self.starts]
        self.told = [log_reader.HashSample(max(MAX_LABELS // rules.history, size)) for _ in self.starts]
        self.rows: Counter[int] = Counter()
        self.truth = pd.DataFrame({"hash": np.array([], np.uint64), "truth": []})

    def add_labels(self, folder: Path) -> None:
        """Take a sample of the truth that came since the first window; of one id the latest holds."""
        drawn, read = log_reader.HashSample(MAX_LABELS), log_reader.ReadStats()
        for part in log_reader.read_records(folder, "feedback", read):
            if "truth" in part:
                good = part["truth"].notna() & (part["time"] >= self.starts[0])
                drawn.add(part.loc[good, ["hash", "truth", "time"]].astype({"truth": "object"}))
        if len(found := drawn.settle()):
            self.truth = found[["hash", "truth"]]
        self.tally.counts.update({"labels": read.counts["rows"], "labels repeated": drawn.repeated})
        self.tally.counts["broken lines"] += read.counts["broken lines"]
        self.tally.broken |= read.broken

    def add(self, frame: pd.DataFrame) -> None:
        """Take the model's rows into the samples of their windows; those of other models are counted."""
        models = frame["model"] if "model" in frame else pd.Series(None, index=frame.index, dtype="object")
        ours = (models == self.model).to_numpy(dtype=bool, na_value=False)
        self.tally.counts["of no model"] += int(models.isna().sum())
        self.tally.counts["of another model"] += int((~ours & models.notna()).sum())
        frame = frame if ours.all() else frame[ours]
        self.tally.counts["in the future"] += int((frame["time"] > self.now + pd.Timedelta("1h")).sum())
        number = ((frame["time"] - self.starts[0]) // self.width).to_numpy()
        heard = np.isin(frame["hash"].to_numpy(), self.truth["hash"].to_numpy())
        for i in np.unique(number[(number >= 0) & (number < len(self.starts))]).astype(int):
            here = number == i
            self.rows[i] += int(here.sum())
            self.window_samples[i].add(frame[here])
            self.told[i].add(frame[here & heard])

    def windows(self, like: pd.DataFrame) -> list[Window]:
        """The windows, oldest first."""
        found = []
        for i, start in enumerate(self.starts):
            sample, labelled = self.window_samples[i].settle(), self.told[i].settle()
            if len(labelled):
                labelled = labelled.drop(columns="truth", errors="ignore").merge(self.truth, on="hash")
            self.tally.counts["repeated, in the samples"] += self.window_samples[i].repeated
            found.append(Window(start, self.rows[i], sample, labelled, *cast_columns(sample, like)))
        return found


def collect_windows(params: Params, ref: ReferenceData, now: pd.Timestamp) -> tuple[list[Window], log_reader.ReadStats]:
    """The windows up to now, from logs that are read once, file by file."""
    size = min(params.monitor.sample, max(len(ref.raw) // 2, 1))
    collector, folder = WindowCollector(params, ref.model, now, size), Path(params.monitor.logs)
    collector.add_labels(folder)
    columns = [*LOG_COLUMNS, *map(to_log_column, params.data.features)]
    for part in log_reader.read_records(folder, "predictions", collector.tally, columns):
        collector.add(part)
    return collector.windows(ref.raw), collector.tally
