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
from modelyard.core.params import Monitor, Params, span
from modelyard.core.paths import HOLDOUT, LOCK, MODEL, PREDICTIONS, TRAIN
from modelyard.core.predictions import place
from modelyard.core.process import DVC
from modelyard.core.project import Project
from modelyard.monitoring import log_reader
from modelyard.statistics import drift

ROWS = 20_000  # drawn from the training rows
LABELS = 100_000  # drawn from the feedback
MONDAY = pd.Timestamp("1970-01-05", tz="UTC")
FILES = (TRAIN, HOLDOUT, PREDICTIONS)
META = ("id", "time", "model", "prediction")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
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
    unread: dict[str, float]


def files(deployed: dict[str, Any] | None) -> tuple[str, dict[Path, Path]]:
    """A model's digest, and where its rows and predictions lie: here, or in DVC's cache for one that is deployed."""
    if not deployed or (MODEL.exists() and sha256(MODEL) == deployed["model"]):
        if missing := [str(path) for path in (MODEL, *FILES) if not path.exists()]:
            raise UserError(f"there is nothing to compare with: {', '.join(missing)} missing; `make pipeline` makes it")
        return sha256(MODEL), {path: path for path in FILES}
    commit = deployed["commit"]
    outs = dvc_lock.outs(git_objects.at(commit, LOCK) or {})
    places = {path: dvc_lock.cached(outs.get(str(path))) for path in FILES}
    if not all(place.is_file() for place in places.values()):
        with git_objects.checkout(commit) as project:
            model_at.run(project, *DVC, "repro", "evaluate")
    if not all(place.is_file() for place in places.values()):
        raise UserError(f"the rows of the deployed model are gone; check out {commit[:12]} and `make pipeline` there")
    return str(deployed["model"]), places


def stretches(times: pd.Series, rules: Monitor) -> list[Array]:
    """The rows of each stretch of time as long as a window, where they are enough."""
    width = pd.Timedelta(span(rules.window)).as_unit("ns").value
    return drift.stretch(times.astype("datetime64[ns]").astype("int64").to_numpy(), width, rules.minimum)


def reference(params: Params) -> Reference:
    """The reference of the deployed model, else of the one here, in samples of fixed size."""
    model, places = files((git_objects.at("HEAD", paths.PRODUCTION) or {}).get("champion"))
    data, rules = params.data, params.monitor
    wanted = dict.fromkeys([*data.features, *filter(None, [data.time])])
    whole = pq.read_table(places[TRAIN], columns=list(wanted), use_threads=False)
    chosen = np.sort(np.random.default_rng(0).choice(len(whole), min(ROWS, len(whole)), replace=False))
    rows, said = whole.take(chosen).to_pandas().reset_index(drop=True), pd.read_parquet(places[PREDICTIONS])
    raw = rows[data.features]
    if not data.time:
        return Reference(model, raw, Project.load().features(raw), said)
    held = pd.read_parquet(places[HOLDOUT], columns=[data.time])[data.time]
    return Reference(
        model, raw, Project.load().features(raw), said, stretches(rows[data.time], rules), stretches(held, rules)
    )


def typed(logged: pd.Series, like: pd.Series) -> pd.Series:
    """Logged values as the type of a column; what is no such value becomes missing."""
    if pd.api.types.is_datetime64_any_dtype(like):
        times = pd.to_datetime(logged, errors="coerce", format="ISO8601", utc=True)
        return times if getattr(like.dt, "tz", None) else times.dt.tz_localize(None)
    if pd.api.types.is_bool_dtype(like) or not pd.api.types.is_numeric_dtype(like):
        return logged.astype("str")
    return pd.to_numeric(logged, errors="coerce")


def conform(frame: pd.DataFrame, like: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Logged rows with the reference's columns and types; for each column the share that has no such value."""
    if frame.empty:
        return like.head(0), dict.fromkeys(map(str, like), 0.0)
    table, unread = {}, {}
    for name in map(str, like):
        there = place(name) in frame
        logged = frame[place(name)] if there else pd.Series(None, index=frame.index, dtype="object")
        table[name] = typed(logged, like[name])
        unread[name] = float((table[name].isna() & logged.notna()).mean())
    return pd.DataFrame(table), unread


class Collector:
    """Samples of each whole window's predictions, filled part by part; windows lie on one grid from Monday on."""

    def __init__(self, params: Params, model: str, now: pd.Timestamp, size: int) -> None:
        rules, self.width = params.monitor, pd.Timedelta(span(params.monitor.window))
        self.model, self.now, self.tally = model, now, log_reader.Tally()
        end = MONDAY + (now - MONDAY) // self.width * self.width
        self.starts = [end - self.width * i for i in range(rules.history, 0, -1)]
        self.some = [log_reader.Sample(size) for _ in self.starts]
        self.told = [log_reader.Sample(max(LABELS // rules.history, size)) for _ in self.starts]
        self.rows: Counter[int] = Counter()
        self.truth = pd.DataFrame({"hash": np.array([], np.uint64), "truth": []})

    def hear(self, folder: Path) -> None:
        """Take a sample of the truth that came since the first window; of one id the latest holds."""
        drawn, read = log_reader.Sample(LABELS), log_reader.Tally()
        for part in log_reader.read(folder, "feedback", read):
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
            self.some[i].add(frame[here])
            self.told[i].add(frame[here & heard])

    def windows(self, like: pd.DataFrame) -> list[Window]:
        """The windows, oldest first."""
        found = []
        for i, start in enumerate(self.starts):
            sample, labelled = self.some[i].settle(), self.told[i].settle()
            if len(labelled):
                labelled = labelled.drop(columns="truth", errors="ignore").merge(self.truth, on="hash")
            self.tally.counts["repeated, in the samples"] += self.some[i].repeated
            found.append(Window(start, self.rows[i], sample, labelled, *conform(sample, like)))
        return found


def collect(params: Params, ref: Reference, now: pd.Timestamp) -> tuple[list[Window], log_reader.Tally]:
    """The windows up to now, from logs that are read once, file by file."""
    size = min(params.monitor.sample, max(len(ref.raw) // 2, 1))
    collector, folder = Collector(params, ref.model, now, size), Path(params.monitor.logs)
    collector.hear(folder)
    columns = [*META, *map(place, params.data.features)]
    for part in log_reader.read(folder, "predictions", collector.tally, columns):
        collector.add(part)
    return collector.windows(ref.raw), collector.tally
