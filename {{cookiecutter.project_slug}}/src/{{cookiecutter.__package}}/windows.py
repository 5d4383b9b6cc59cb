"""What monitoring compares: the rows that the deployed model learned from, and windows of what it was asked."""

import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from . import champion, logs
from .config import HOLDOUT, LOCK, MODEL, PREDICTIONS, TRAIN, Data, Params, UserError, sha256, span
from .features import features
from .rows import WORDS

ROWS = 20_000  # drawn from the training rows
LABELS = 100_000  # drawn from the feedback
MONDAY = pd.Timestamp("1970-01-05", tz="UTC")
FILES = (TRAIN, HOLDOUT, PREDICTIONS)
NONE = pd.DataFrame({"hash": np.array([], np.uint64), "truth": []})
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Reference:
    """What a model learned from, as raw columns and as features; what it said of its holdout; the rows' times."""

    model: str
    raw: pd.DataFrame
    table: pd.DataFrame
    predictions: pd.DataFrame
    times: Array | None = None
    held: Array | None = None


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
        missing = [str(path) for path in (MODEL, *FILES) if not path.exists()]
        if missing:
            raise UserError(f"there is nothing to compare with: {', '.join(missing)} missing; `make pipeline` makes it")
        return sha256(MODEL), {path: path for path in FILES}
    outs = champion.outs(champion.at(deployed["commit"], LOCK) or {})
    digests = {path: outs.get(str(path), "none") for path in FILES}
    places = {path: champion.CACHE / digest[:2] / digest[2:] for path, digest in digests.items()}
    if not all(place.is_file() for place in places.values()):
        with champion.checkout(deployed["commit"]) as project:
            champion.run(project, sys.executable, "-m", "dvc", "repro", "evaluate")
    if not all(place.is_file() for place in places.values()):
        short = deployed["commit"][:12]
        raise UserError(f"the rows of the deployed model are gone; check out {short} and `make pipeline` there")
    return str(deployed["model"]), places


def draw(path: Path, columns: list[str], most: int) -> pd.DataFrame:
    """At most so many rows of a Parquet file, drawn at random, in the file's order."""
    total = pq.read_metadata(path).num_rows
    chosen = np.sort(np.random.default_rng(0).choice(total, min(most, total), replace=False))
    parts, start = [], 0
    for batch in logs.batches(path, columns):
        here = chosen[np.searchsorted(chosen, start) : np.searchsorted(chosen, start + len(batch))]
        parts.append(batch.iloc[here - start])
        start += len(batch)
    return pd.concat(parts, ignore_index=True)


def reference(data: Data) -> Reference:
    """The reference of the deployed model, else of the one here, in samples of fixed size."""
    model, places = files((champion.at("HEAD", champion.PRODUCTION) or {}).get("champion"))
    time = [data.time] if data.time else []
    raw = draw(places[TRAIN], list(dict.fromkeys([*data.features, *time])), ROWS)
    said = pd.read_parquet(places[PREDICTIONS])
    found = Reference(model, raw[data.features], features(raw[data.features]), said)
    if not data.time:
        return found
    held = pd.read_parquet(places[HOLDOUT], columns=time)
    return replace(found, times=nanoseconds(raw[data.time]), held=nanoseconds(held[data.time]))


def nanoseconds(times: pd.Series) -> Array:
    """Times as whole numbers."""
    return times.astype("datetime64[ns]").astype("int64").to_numpy()


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
        place = f"{name}_" if name in WORDS or name.startswith("p_") else name
        logged = frame[place] if place in frame else pd.Series(None, index=frame.index, dtype="object")
        table[name] = typed(logged, like[name])
        unread[name] = float((table[name].isna() & logged.notna()).mean())
    return pd.DataFrame(table), unread


def last_end(now: pd.Timestamp, width: pd.Timedelta) -> pd.Timestamp:
    """When the last whole window ended; windows lie on one grid, which starts on a Monday."""
    return MONDAY + (now - MONDAY) // width * width


class Collector:
    """Samples of each window's predictions, filled part by part."""

    def __init__(self, params: Params, model: str, now: pd.Timestamp, size: int) -> None:
        rules, self.width = params.monitor, pd.Timedelta(span(params.monitor.window))
        self.model, self.now, self.tally = model, now, logs.Tally()
        end = last_end(now, self.width)
        self.starts = [end - self.width * i for i in range(rules.history, 0, -1)]
        self.some = [logs.Sample(size) for _ in self.starts]
        self.told = [logs.Sample(max(LABELS // rules.history, size)) for _ in self.starts]
        self.rows: Counter[int] = Counter()
        self.truth = NONE

    def hear(self, truth: pd.DataFrame) -> None:
        """Take the truth that came."""
        self.truth = truth[["hash", "truth"]]

    def own(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The rows of the model; those of others are counted."""
        if "model" not in frame:
            self.tally.counts["of no model"] += len(frame)
            return frame.head(0)
        ours = (frame["model"] == self.model).to_numpy(dtype=bool, na_value=False)
        self.tally.counts["of another model"] += int((~ours).sum())
        return frame if ours.all() else frame[ours]

    def add(self, part: pd.DataFrame) -> None:
        """Take the rows of our windows into their samples."""
        frame = self.own(logs.known(part, self.tally))
        self.tally.counts["in the future"] += int((frame["time"] > self.now + pd.Timedelta("1h")).sum())
        place = ((frame["time"] - self.starts[0]) // self.width).to_numpy()
        heard = np.isin(frame["hash"].to_numpy(), self.truth["hash"].to_numpy())
        for i in np.unique(place[(place >= 0) & (place < len(self.starts))]).astype(int):
            here = place == i
            self.rows[i] += int(here.sum())
            self.some[i].add(frame[here])
            self.told[i].add(frame[here & heard])

    def windows(self, like: pd.DataFrame) -> list[Window]:
        """The windows, oldest first."""
        found = []
        for i, start in enumerate(self.starts):
            sample, labelled = self.some[i].settle(), self.told[i].settle()
            if len(labelled):
                labelled = labelled.merge(self.truth, on="hash")
            self.tally.counts["repeated, in the samples"] += self.some[i].repeated
            found.append(Window(start, self.rows[i], sample, labelled, *conform(sample, like)))
        return found


def collect(params: Params, ref: Reference, now: pd.Timestamp) -> tuple[list[Window], logs.Tally]:
    """The windows up to now, from logs that are read once, file by file."""
    folder, tally = Path(params.monitor.logs), logs.Tally()
    size = min(params.monitor.sample, max(len(ref.raw) // 2, 1))
    collector = Collector(params, ref.model, now, size)
    collector.hear(feedback(folder, collector.starts[0], tally))
    for part in logs.read(
        folder, "predictions", collector.tally, [*logs.META, *params.data.features, *(f"{name}_" for name in WORDS)]
    ):
        collector.add(part)
    collector.tally.counts.update(tally.counts)
    collector.tally.broken |= tally.broken
    return collector.windows(ref.raw), collector.tally


def feedback(folder: Path, since: pd.Timestamp, tally: logs.Tally) -> pd.DataFrame:
    """A sample of the truth that came since a time, by the hash of the prediction's id; the latest one holds."""
    drawn, read = logs.Sample(LABELS), logs.Tally()
    for part in logs.read(folder, "feedback", read, ["id", "truth", "time"]):
        frame = logs.known(part, read)
        if "truth" in frame:
            good = frame["truth"].notna() & (frame["time"] >= since)
            drawn.add(frame.loc[good, ["hash", "truth", "time"]].astype({"truth": "object"}))
    found = drawn.settle()
    tally.counts["labels"], tally.counts["labels repeated"] = read.counts["rows"], drawn.repeated
    tally.broken |= read.broken
    return found if len(found) else NONE
