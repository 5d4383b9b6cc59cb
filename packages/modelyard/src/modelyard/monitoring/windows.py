"""Collect what monitoring compares: the deployed model's training rows, and windows of the logged predictions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from modelyard.core import dvc_lock, git_objects, model_at
from modelyard.core.deployments import DeployedModel, find_deployed_champion
from modelyard.core.errors import MissingFileError
from modelyard.core.files import sha256
from modelyard.core.params import MonitorParams, Params, parse_duration
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, MODEL_FILE, PREDICTIONS_PARQUET, TRAIN_PARQUET
from modelyard.core.predictions import to_log_column
from modelyard.core.process import DVC_COMMAND
from modelyard.core.project import Project
from modelyard.monitoring.log_reader import EmptyLogError, HashSample, LabelSample, ReadStats, read_records
from modelyard.statistics import drift
from modelyard.statistics.drift import Periods

REFERENCE_ROWS = 20_000  # sampled from the training rows
PERIOD_ROWS = 50_000  # sampled from the training rows' periods, all together
MAX_LABELS = 100_000  # sampled from the feedback
CLOCK_TOLERANCE = pd.Timedelta("1h")  # rows that are later than now by more than this are counted
WINDOW_ORIGIN = pd.Timestamp("1970-01-05", tz="UTC")  # a Monday
REFERENCE_FILES = (TRAIN_PARQUET, HOLDOUT_PARQUET, PREDICTIONS_PARQUET)
LOG_COLUMNS = ("id", "time", "model", "prediction")
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ReferenceData:
    """The data behind a model, with which windows are compared.

    Parameters
    ----------
    model
        The SHA-256 of the model's file.
    raw, features
        A sample of the training rows: raw columns, and the features made from them.
    predictions
        The predictions on the holdout, with their truth.
    period_features
        The features of a sample of the training rows in each period as long as a window.
    train_periods, holdout_periods
        The positions of these rows (of `period_features`, and of the holdout); empty without times, or where the
        periods are too few.
    """

    model: str
    raw: pd.DataFrame
    features: pd.DataFrame
    predictions: pd.DataFrame
    period_features: pd.DataFrame = field(default_factory=pd.DataFrame)
    train_periods: Periods = drift.NO_PERIODS
    holdout_periods: Periods = drift.NO_PERIODS


@dataclass(frozen=True)
class Window:
    """A period of the service.

    Parameters
    ----------
    start
        When the window begins.
    rows
        The number of predictions.
    sample
        A sample of the predictions, as logged.
    labelled
        A sample of the predictions whose truth is known, with `truth`.
    raw
        The raw columns of the sample, with the types of the reference.
    unreadable_shares
        For each raw column, the share of values of another type.
    is_labelled
        Whether the truth of each row of the sample is known.
    """

    start: pd.Timestamp
    rows: int
    sample: pd.DataFrame
    labelled: pd.DataFrame
    raw: pd.DataFrame
    unreadable_shares: dict[str, float]
    is_labelled: Array


def locate_reference_files(deployed: DeployedModel | None) -> tuple[str, dict[Path, Path]]:
    """Return the digest of a model, and where its training rows, holdout and predictions are.

    Parameters
    ----------
    deployed
        The deployed model; None for the model in this folder.

    Returns
    -------
    tuple
        The SHA-256 of the model, and the place of each of `REFERENCE_FILES`: this folder, or DVC's cache for a
        deployed model, whose stages are run again where the cache lacks them.

    Raises
    ------
    MissingFileError
        A file is missing, and cannot be made again.
    """
    if not deployed or (MODEL_FILE.exists() and sha256(MODEL_FILE) == deployed.model):
        for path in (MODEL_FILE, *REFERENCE_FILES):
            if not path.exists():
                raise MissingFileError(path, "run `make pipeline` to have something to compare with")
        return sha256(MODEL_FILE), {path: path for path in REFERENCE_FILES}
    commit = deployed.commit
    hashes = dvc_lock.get_hashes(git_objects.read_yaml_at(commit, DVC_LOCK) or {})
    places = {path: dvc_lock.get_cache_path(hashes.get(str(path))) for path in REFERENCE_FILES}
    if not all(place.is_file() for place in places.values()):
        with git_objects.checkout_commit(commit) as project:
            model_at.run_in_checkout(project, *DVC_COMMAND, "repro", "evaluate")
    for path, place in places.items():
        if not place.is_file():
            raise MissingFileError(path, f"check out {commit[:12]}, the deployed commit, and run `make pipeline` there")
    return deployed.model, places


def sample_periods(times: pd.Series, reference_rows: Array, rules: MonitorParams) -> Periods:
    """Return a sample of the rows in each period as long as a window.

    Parameters
    ----------
    times
        The time of each row, shape (n,).
    reference_rows
        The numbers of the rows that are the reference, shape (m,).
    rules
        The length of a window, and the fewest rows of a period.

    Returns
    -------
    Periods
        Row numbers in `times`, and positions in `reference_rows`. Of very many periods some are drawn, so that all
        together have at most 50,000 rows.
    """
    width, day = (pd.Timedelta(length).as_unit("ns").value for length in (parse_duration(rules.window), "1D"))
    nanoseconds = pd.to_datetime(times, utc=True).dt.as_unit("ns").astype("int64").to_numpy()
    found = drift.group_rows_by_period(nanoseconds, width, rules.minimum, day)
    if not found:
        return drift.NO_PERIODS
    random = np.random.default_rng(0)
    most = max(PERIOD_ROWS // rules.minimum, drift.MIN_PERIODS)
    if len(found) > most:
        found = [found[number] for number in random.choice(len(found), most, replace=False)]
    period_of_row = np.full(len(times), -1)
    for number, rows in enumerate(found):
        period_of_row[rows] = number
    own_rows = [np.flatnonzero(period_of_row[reference_rows] == number) for number in range(len(found))]
    return Periods([random.permutation(rows)[: PERIOD_ROWS // len(found)] for rows in found], own_rows)


def load_reference(params: Params) -> ReferenceData:
    """Return the data of the model deployed to production, else of the model in this folder."""
    model, places = locate_reference_files(find_deployed_champion())
    data = params.data
    names = [*dict.fromkeys([*data.features, *([data.time] if data.time else [])])]
    table = pq.read_table(places[TRAIN_PARQUET], columns=names, use_threads=False)
    rows = sample_reference_rows(len(table))
    raw = table.take(rows).to_pandas()[data.features]
    features = Project.load().features(raw)
    predictions = pd.read_parquet(places[PREDICTIONS_PARQUET])
    if not data.time:
        return ReferenceData(model, raw, features, predictions)
    periods = sample_periods(table[data.time].to_pandas(), rows, params.monitor)
    period_features, train_periods = compute_period_features(table.select(data.features), periods)
    holdout_times = pd.read_parquet(places[HOLDOUT_PARQUET], columns=[data.time])[data.time]
    holdout_periods = sample_periods(holdout_times, np.arange(len(holdout_times)), params.monitor)
    return ReferenceData(model, raw, features, predictions, period_features, train_periods, holdout_periods)


def sample_reference_rows(rows: int) -> Array:
    """Return the numbers of at most 20,000 of so many training rows, drawn at random, in their order."""
    return np.sort(np.random.default_rng(0).choice(rows, min(REFERENCE_ROWS, rows), replace=False))


def compute_period_features(table: pa.Table, periods: Periods) -> tuple[pd.DataFrame, Periods]:
    """Return the features of the periods' rows of a table, and the periods with row numbers in these features."""
    if not periods.rows:
        return pd.DataFrame(), periods
    features = Project.load().features(table.take(np.concatenate(periods.rows)).to_pandas())
    ends = np.cumsum([len(rows) for rows in periods.rows])
    return features, Periods(np.split(np.arange(len(features)), ends[:-1]), periods.reference_rows)


def cast_column(logged: pd.Series, reference: pd.Series) -> pd.Series:
    """Return logged values with the type of the reference's column; values of another type become missing."""
    if pd.api.types.is_datetime64_any_dtype(reference):
        times = pd.to_datetime(logged, errors="coerce", format="ISO8601", utc=True)
        return times if getattr(reference.dt, "tz", None) else times.dt.tz_localize(None)
    if pd.api.types.is_bool_dtype(reference) or not pd.api.types.is_numeric_dtype(reference):
        return logged.astype("str")
    return pd.to_numeric(logged, errors="coerce")


def cast_columns(logged: pd.DataFrame, reference: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float]]:
    """Return logged rows with the columns and types of the reference, and each column's share of unreadable values."""
    if logged.empty:
        return reference.head(0), dict.fromkeys(map(str, reference), 0.0)
    table = {}
    unreadable_shares = {}
    for name in map(str, reference):
        column = to_log_column(name)
        values = logged[column] if column in logged else pd.Series(None, index=logged.index, dtype="object")
        table[name] = cast_column(values, reference[name])
        unreadable_shares[name] = float((table[name].isna() & values.notna()).mean())
    return pd.DataFrame(table), unreadable_shares


class WindowCollector:
    """Fill samples of the predictions in each whole window, part by part.

    All windows lie on one grid that begins on a Monday, so that the same row is in the same window in every run.

    Parameters
    ----------
    params
        The project's parameters.
    model
        The digest of the model whose predictions are collected.
    now
        The last window ends at this time at the latest.
    size
        The rows of a window's sample.
    late_windows
        The numbers of windows before the history that are collected as well. The first window of the history has the
        number 0, the one before it -1.
    """

    def __init__(
        self, params: Params, model: str, now: pd.Timestamp, size: int, late_windows: Sequence[int] = ()
    ) -> None:
        history = params.monitor.history
        self.rules = params.monitor
        self.width = pd.Timedelta(parse_duration(params.monitor.window))
        self.model = model
        self.now = now
        self.stats = ReadStats()
        end = WINDOW_ORIGIN + (now - WINDOW_ORIGIN) // self.width * self.width
        self.history_start = end - self.width * history
        self.numbers = [*late_windows, *range(history)]
        self.starts = [self.history_start + self.width * number for number in self.numbers]
        self.samples = {number: HashSample(size) for number in self.numbers}
        self.labelled_samples = {number: HashSample(max(MAX_LABELS // history, size)) for number in self.numbers}
        self.row_counts: Counter[int] = Counter()
        self.labelled_counts: Counter[int] = Counter()
        self.truth = pd.DataFrame({"hash": np.array([], np.uint64), "truth": []})

    def add_labels(self, folder: Path) -> None:
        """Read samples of the labels of the history's time and of earlier ones; the first label of an id counts."""
        earlier = LabelSample(MAX_LABELS)
        recent = LabelSample(MAX_LABELS)
        stats = ReadStats()
        for part in read_records(folder, "feedback", stats):
            if "truth" in part:
                labels = part.loc[part["truth"].notna(), ["hash", "truth", "time"]].astype({"truth": "object"})
                is_recent = labels["time"] >= self.history_start
                earlier.add(labels[~is_recent])
                recent.add(labels[is_recent])
        together = LabelSample(2 * MAX_LABELS)
        for labels in (earlier.shrink(), recent.shrink()):
            if len(labels):
                together.add(labels)
        found = together.shrink()
        if len(found):
            self.truth = found[["hash", "truth"]]
            self.stats.counts["labels contradicted"] += int(found["is_contradicted"].sum())
        self.stats.counts["labels"] += stats.counts["rows"]
        self.stats.counts["labels repeated"] += earlier.repeated + recent.repeated + together.repeated
        self.stats.counts["broken lines"] += stats.counts["broken lines"]
        self.stats.unreadable_files |= stats.unreadable_files

    def select_own_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that the model predicted, and count the others."""
        models = frame["model"] if "model" in frame else pd.Series(None, index=frame.index, dtype="object")
        own = (models == self.model).to_numpy(dtype=bool, na_value=False)
        self.stats.counts["of no model"] += int(models.isna().sum())
        self.stats.counts["of another model"] += int((~own & models.notna()).sum())
        return frame if own.all() else frame[own]

    def add(self, frame: pd.DataFrame) -> None:
        """Add the model's rows to the samples of their windows."""
        frame = self.select_own_rows(frame)
        self.stats.counts["in the future"] += int((frame["time"] > self.now + CLOCK_TOLERANCE).sum())
        window_numbers = ((frame["time"] - self.history_start) // self.width).to_numpy()
        is_labelled = np.isin(frame["hash"].to_numpy(), self.truth["hash"].to_numpy())
        self.labelled_counts.update(window_numbers[is_labelled].tolist())
        for number in np.intersect1d(window_numbers, self.numbers).tolist():
            here = window_numbers == number
            self.row_counts[number] += int(here.sum())
            self.samples[number].add(frame[here])
            self.labelled_samples[number].add(frame[here & is_labelled])

    def find_late_windows(self) -> list[int]:
        """Return the numbers of earlier windows whose labels came so late that the history has too few to judge.

        Together with the history, they are as many windows with `minimum` labels as a finding needs.
        """
        enough = sorted(number for number, count in self.labelled_counts.items() if count >= self.rules.minimum)
        earlier = [number for number in enough if number < 0]
        missing = self.rules.persist[1] - sum(number in self.samples for number in enough)
        return earlier[-missing:] if missing > 0 else []

    def build_windows(self, reference: pd.DataFrame) -> list[Window]:
        """Return the windows, the oldest first; their raw columns have the types of the reference."""
        windows = []
        for number, start in zip(self.numbers, self.starts, strict=True):
            sample = self.samples[number].shrink()
            labelled = self.labelled_samples[number].shrink()
            if len(labelled):
                labelled = labelled.drop(columns="truth", errors="ignore").merge(self.truth, on="hash")
            self.stats.counts["repeated, in the samples"] += self.samples[number].repeated
            raw, unreadable_shares = cast_columns(sample, reference)
            is_labelled = np.isin(sample["hash"], labelled["hash"]) if len(labelled) else np.zeros(len(sample), bool)
            windows.append(
                Window(start, self.row_counts[number], sample, labelled, raw, unreadable_shares, is_labelled)
            )
        return windows


def collect_windows(params: Params, reference: ReferenceData, now: pd.Timestamp) -> tuple[list[Window], ReadStats]:
    """Return the whole windows up to now, and before them those whose labels came later than the history is long.

    The logs are read once, file by file, and once more where labels came that late.

    Raises
    ------
    EmptyLogError
        No window of the history has a prediction of the reference's model.
    """
    collector = fill_collector(params, reference, now)
    late_windows = collector.find_late_windows()
    if late_windows:
        collector = fill_collector(params, reference, now, late_windows)
    windows = collector.build_windows(reference.raw)
    if not any(window.rows for window in windows[len(late_windows) :]):
        raise explain_empty_windows(params.monitor, reference.model, collector.stats)
    return windows, collector.stats


def fill_collector(
    params: Params, reference: ReferenceData, now: pd.Timestamp, late_windows: Sequence[int] = ()
) -> WindowCollector:
    """Return a collector with all labels and predictions of the logs; see `WindowCollector`."""
    sample_size = min(params.monitor.sample, max(len(reference.raw) // 2, 1))
    collector = WindowCollector(params, reference.model, now, sample_size, late_windows)
    folder = Path(params.monitor.logs)
    collector.add_labels(folder)
    columns = [*LOG_COLUMNS, *map(to_log_column, params.data.features)]
    for part in read_records(folder, "predictions", collector.stats, columns):
        collector.add(part)
    return collector


def explain_empty_windows(rules: MonitorParams, model: str, stats: ReadStats) -> EmptyLogError:
    """Return an error that says why no window has a prediction."""
    if not stats.counts["rows"]:
        problem = "has no predictions (predictions-*.jsonl or .parquet)"
        return EmptyLogError(rules.logs, problem, "start the service, which writes them")
    if stats.counts["of another model"]:
        problem = f"has only predictions of other models than {model[:12]}"
        return EmptyLogError(rules.logs, problem, "use the logs of the deployed model")
    problem = f"has no prediction in the last {rules.history} whole windows of {rules.window}"
    return EmptyLogError(rules.logs, problem, "use newer logs, or give UNTIL an earlier time")
