"""The settings of params.yaml: a checked structure with the meaning, the unit and the default of each."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from yaml import YAMLError

from modelyard.core.errors import InvalidFileError, MissingFileError, SettingError
from modelyard.core.paths import PARAMS_YAML
from modelyard.core.protocol import GATE_RULES_VARIABLE
from modelyard.core.yaml import read_yaml

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class ParamsSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A block of params.yaml; a key that it does not have is an error."""


class DataParams(ParamsSection, frozen=True):
    """The table: where it lies, what is predicted, and what the model may see.

    Parameters
    ----------
    path
        The file or folder with the raw rows, relative to the project.
    target
        The column that is predicted.
    task
        `classification` or `regression`.
    features
        The raw columns that the model sees: what is known when the prediction is wanted.
    time
        The column with the time of a row; the latest rows are held out. Null: rows are held out by the key of
        schema.yaml, or at random.
    group
        The column whose rows with one value stay together. Null: rows do not belong together.
    sensitive
        The columns whose groups the report compares.
    left_out
        The columns that the model does not see, and why.
    block
        The rows that the gate does not count as independent of each other: those of one `hour`, `day` or `week`, or
        those with one value in a column of that name. Null: the day, where there is a `time`.
    """

    path: str
    target: str
    task: str
    features: list[str]
    time: str | None = None
    group: str | None = None
    sensitive: list[str] = []
    left_out: dict[str, str] = {}
    block: str | None = None


class SplitParams(ParamsSection, frozen=True):
    """The rows that are held out to judge a model.

    Parameters
    ----------
    seed
        Where the random draw starts.
    holdout
        The share of the rows that is held out, between 0 and 1.
    rows
        The most rows that are held out; of more, a sample is.
    window
        Which rows are held out by time: those of the last days or hours, such as `90d` or `12h`, or those since a time,
        such as `"2026-03-01"`. Null: the newest share `holdout`.
    """

    seed: int = 0
    holdout: float = 0.2
    rows: PositiveInt = 1 << 18
    window: str | None = None


class StartParams(ParamsSection, frozen=True):
    """The model that training goes on from: its commit, and the SHA-256 of each file in models/start/.

    Parameters
    ----------
    commit
        The commit that has the model.
    model
        The model file.
    rows
        The hashes of its training rows.
    holdout
        The rows that were held out when it was trained.
    """

    commit: str
    model: str
    rows: str
    holdout: str


class TrainParams(ParamsSection, frozen=True):
    """The estimator, its arguments, and the rows that it is trained on.

    Parameters
    ----------
    estimator
        The dotted name of a scikit-learn class, or of one in the project's own package.
    arguments
        The keyword arguments of that class.
    window
        The training rows: `all`, those of the last days such as `90d` (needs `data.time`), or the last ones such as
        `50000`.
    start
        The model that training goes on from, with the rows that are new to it. Null: training starts afresh.
    threads
        The threads of one training; with another number the model may differ in its last digits.
    megabytes
        The memory for the training rows, in MB. A larger table is learned in parts, or from a sample.
    """

    estimator: str
    arguments: dict[str, Any] = {}
    window: str = "all"
    start: StartParams | None = None
    threads: int = 1
    megabytes: PositiveInt = 8192


class EvaluateParams(ParamsSection, frozen=True):
    """The primary metric, and what each error costs.

    Parameters
    ----------
    metric
        The name of the metric that the gate compares.
    cost
        The cost of predicting a class, `cost[truth][prediction]`, classes in alphabetical order. Null: there is no
        metric `cost`.
    """

    metric: str
    cost: list[list[float]] | None = None


class GateParams(ParamsSection, frozen=True):
    """What a change to the model must keep.

    Parameters
    ----------
    margin
        How much of the primary metric a change may lose: in points, or as a share where the metric is relative. Null:
        the metric's default.
    confidence
        The coverage of every interval, between 0 and 1.
    inconclusive
        What an inconclusive comparison does: `warn` or `block`.
    retarget
        What a change does that the base's rules do not fit (another target, lost columns): `block` or `warn`.
    drop
        How many margins all changes since the last promotion, or since the holdout began, may lose together.
    looks
        After how many judged models a new holdout is asked for.
    floors
        The worst acceptable value of a metric, by the metric's name. It blocks where the whole interval misses it.
    ceiling
        The value of the primary metric beyond which a leak is suspected. Null: no limit.
    slices
        The columns of which each value is compared separately.
    fairness
        The largest gap between the groups of a sensitive column, in every measure. Null: gaps are reported only.
    megabytes
        The size of the model's file, in MB. Null: no limit.
    milliseconds
        The CPU time of predicting one row, in ms. Null: no limit.
    seconds
        The CPU time of training, in s. Null: no limit.
    peak
        The memory of training, in MB. Null: no limit.
    """

    margin: float | None = None
    confidence: float = 0.95
    inconclusive: str = "warn"
    retarget: Literal["block", "warn"] = "block"
    drop: float = 2.0
    looks: PositiveInt = 50
    floors: dict[str, float] = {}
    ceiling: float | None = None
    slices: list[str] = []
    fairness: float | None = None
    megabytes: float | None = None
    milliseconds: float | None = None
    seconds: float | None = None
    peak: float | None = None


class SearchRange(ParamsSection, frozen=True):
    """The range in which an argument is searched.

    Parameters
    ----------
    low
        The smallest value.
    high
        The largest value.
    log
        Whether values are drawn evenly by their logarithm.
    """

    low: int | float
    high: int | float
    log: bool = False


class SweepParams(ParamsSection, frozen=True):
    """The search for better arguments of the estimator.

    Parameters
    ----------
    trials
        The number of arguments that one search tries.
    folds
        The number of splits of the training rows that each trial is measured on.
    space
        For each argument, a list of choices or a range.
    """

    trials: PositiveInt = 20
    folds: PositiveInt = 3
    space: dict[str, list[str | int | float | bool | None] | SearchRange] = {}


class LogParams(ParamsSection, frozen=True):
    """The log of predictions.

    Parameters
    ----------
    queue
        The lines that may wait to be written, of at most `megabytes` together; more are counted and lost.
    seconds
        The time between two writes, in s.
    megabytes
        The size at which the next file begins, in MB.
    files
        The number of files that are kept; for feedback, of all keys together, the number that is taken.
    """

    queue: int = 20_000
    seconds: float = 1.0
    megabytes: int = 64
    files: int = 20


class ServeParams(ParamsSection, frozen=True):
    """What the service refuses, and what it logs.

    Parameters
    ----------
    outside
        What happens to values outside schema.yaml: `refuse` the request, or `flag` them in the response.
    rows
        The most rows of one request.
    megabytes
        The largest body of a request, in MB.
    seconds
        How long a body may take to arrive, in s.
    requests
        The most requests at once; more get the status 503.
    keys
        Who may use the service: a name, and the SHA-256 of that client's key. Empty: everybody.
    feedback_for_all
        The names of the keys that may give feedback for every prediction; the others only for those they asked for.
    log
        The log of predictions.
    light_table
        Whether features are computed without pandas where that gives equal results.
    lazy_pandas
        Whether pandas is imported only when it is needed, so that the service starts faster.
    transport
        The HTTP transport: `fast` for the library's own, or `uvicorn`.
    """

    outside: Literal["refuse", "flag"] = "refuse"
    rows: int = 10_000
    megabytes: float = 10
    seconds: float = 10
    requests: int = 512
    keys: dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]] = {}
    feedback_for_all: list[str] = []
    log: LogParams = LogParams()
    light_table: bool = True
    lazy_pandas: bool = True
    transport: Literal["fast", "uvicorn"] = "fast"

    def __post_init__(self) -> None:
        unknown = [name for name in self.feedback_for_all if name not in self.keys]
        if unknown:
            raise ValueError(f"serve.feedback_for_all names {', '.join(unknown)}, which serve.keys lacks")


class ScoreParams(ParamsSection, frozen=True):
    """The scoring of files.

    Parameters
    ----------
    rows
        The rows in memory at a time, for each core.
    """

    rows: int = 32_768


class ComputeParams(ParamsSection, frozen=True):
    """Where sweeps, importances and the scoring of files run.

    Parameters
    ----------
    backend
        `local` for the cores of this machine, or a `dask` or `ray` cluster.
    address
        The address of the cluster's scheduler. Null: none for `local`; a Ray cluster is looked for.
    workers
        The number of tasks that run at once on this machine.
    """

    backend: Literal["local", "dask", "ray"] = "local"
    address: str | None = None
    workers: PositiveInt = 1


class ServiceLevels(ParamsSection, frozen=True):
    """What a service must hold while it gets traffic.

    Parameters
    ----------
    errors
        The largest share of requests that fail.
    milliseconds
        The longest p99 of the response time, in ms.
    difference
        The largest difference between a score of the service and one of the pipeline.
    """

    errors: float = 0.01
    milliseconds: float = 250
    difference: float = 1e-5


class LoadTestParams(ParamsSection, frozen=True):
    """The load of the smoke test.

    Parameters
    ----------
    seconds
        How long it lasts, in s.
    connections
        The number of connections at once.
    """

    seconds: float = 3
    connections: int = 8


class DeployParams(ParamsSection, frozen=True):
    """How a model is deployed.

    Parameters
    ----------
    repository
        The repository that images are pushed to. Null: images stay on the machine.
    signed
        A command that must find the image signed; `{image}` stands for its name. Empty: it is not checked.
    addresses
        Where each environment listens, such as `127.0.0.1:8080`.
    steps
        The shares of the traffic that a candidate gets one after the other, in percent.
    seconds
        How long it must hold each share, in s.
    patience
        How long a service may take until it is ready, in s.
    levels
        What a service must hold.
    load
        The load of the smoke test.
    """

    repository: str | None = None
    signed: list[str] = []
    addresses: dict[str, str] = {}
    steps: tuple[int, ...] = (10, 50, 100)
    seconds: float = 30
    patience: float = 60
    levels: ServiceLevels = ServiceLevels()
    load: LoadTestParams = LoadTestParams()


class ReleaseParams(ParamsSection, frozen=True):
    """What a promoted model must show before it is used.

    Parameters
    ----------
    signed
        A command that must find the model signed; `{model}` stands for its file and `{digest}` for its SHA-256. Empty:
        it is not checked.
    """

    signed: list[str] = []


class MonitorParams(ParamsSection, frozen=True):
    """What is watched, in which windows, and the rate of false alarms.

    Parameters
    ----------
    logs
        The folder with the files predictions-* and feedback-*.
    window
        The length of a window, such as `7d` or `12h`.
    history
        The number of windows in the report.
    sample
        The rows that are drawn from each window, so that limits do not depend on the traffic.
    minimum
        The fewest rows that are judged.
    persist
        `[k, n]`: a finding stands when k of the last n windows show it.
    false_alarms
        The number of false alarms in a year, over all columns of a model.
    measure
        The distance between distributions: `psi`, `jensen_shannon` or `wasserstein`.
    floor
        The smallest distance that can be an alarm.
    importance
        The share of the model's importance from which the drift of a column is a warning instead of a notice.
    margin
        The loss of the primary metric that is critical. Null: the metric's default.
    broken
        The largest share of a column's values that break schema.yaml.
    volume
        The largest share of the usual traffic that may be missing.
    errors
        The largest share of requests that fail.
    milliseconds
        The longest p99 of the response time, in ms. Null: it is not judged.
    cooldown
        How long the webhook waits before it repeats a finding.
    """

    logs: str = "logs"
    window: str = "7d"
    history: int = 12
    sample: int = 5000
    minimum: int = 200
    persist: tuple[int, int] = (2, 3)
    false_alarms: float = 0.05
    measure: str = "psi"
    floor: float = 0.1
    importance: float = 0.1
    margin: float | None = None
    broken: float = 0.01
    volume: float = 0.5
    errors: float = 0.01
    milliseconds: float | None = None
    cooldown: str = "6d"


class RetrainParams(ParamsSection, frozen=True):
    """What starts a training, how often at most, and from which rows it learns.

    Parameters
    ----------
    schedule
        The time after the last training, such as `90d`; it needs new rows. Null: no schedule.
    rows
        The number of new rows. Null: new rows alone start nothing.
    drift
        Whether drift starts a training.
    performance
        Whether a loss of performance starts a training.
    minimum
        The fewest new rows that a training needs.
    cooldown
        The shortest time between two retrains.
    budget
        The most retrains in 30 days.
    window
        The training rows, as in `train.window`. Null: `train.window` holds.
    stateful
        Whether the champion goes on learning, where its estimator can.
    """

    schedule: str | None = None
    rows: int | None = None
    drift: bool = True
    performance: bool = True
    minimum: int = 500
    cooldown: str = "6d"
    budget: int = 4
    window: str | None = None
    stateful: bool = False


class Params(ParamsSection, frozen=True):
    """The contents of params.yaml, checked.

    Parameters
    ----------
    data
        The table.
    train
        The estimator.
    evaluate
        The primary metric.
    seed
        Where the random draws of the estimator and of samples start.
    split
        The rows that are held out.
    gate
        What a change must keep.
    sweep
        The search for better arguments.
    serve
        The service.
    score
        The scoring of files.
    compute
        Where work in parallel runs.
    release
        What a promoted model must show.
    deploy
        How a model is deployed.
    monitor
        What is watched.
    retrain
        What starts a training.
    """

    data: DataParams
    train: TrainParams
    evaluate: EvaluateParams
    seed: int = 0
    split: SplitParams = SplitParams()
    gate: GateParams = GateParams()
    sweep: SweepParams = SweepParams()
    serve: ServeParams = ServeParams()
    score: ScoreParams = ScoreParams()
    compute: ComputeParams = ComputeParams()
    release: ReleaseParams = ReleaseParams()
    deploy: DeployParams = DeployParams()
    monitor: MonitorParams = MonitorParams()
    retrain: RetrainParams = RetrainParams()


def drop_unknown_keys(found: Any, kind: type[ParamsSection]) -> Any:
    """Return a block without the keys that this version of the library does not have."""
    if not isinstance(found, dict):
        return found
    kinds = {field.name: field.type for field in msgspec.structs.fields(kind)}
    known = {}
    for key, value in found.items():
        inner = kinds.get(key)
        types = [one for one in (inner, *get_args(inner)) if isinstance(one, type)]
        sections = [one for one in types if issubclass(one, ParamsSection)]
        if sections:  # also of a section that may be null
            known[key] = drop_unknown_keys(value, sections[0])
        elif key in kinds:
            known[key] = value
    return known


def load_params(path: Path = PARAMS_YAML) -> Params:
    """Return the settings in params.yaml.

    Raises
    ------
    MissingFileError
        There is no such file.
    InvalidFileError
        The file is not YAML, has an unknown key, or a value of the wrong type.
    """
    try:
        found = read_yaml(path)
        if os.environ.get(GATE_RULES_VARIABLE):
            found = drop_unknown_keys(found, Params)
        return msgspec.convert(found, Params)
    except FileNotFoundError:
        raise MissingFileError(path, "run this in the project's folder") from None
    except (msgspec.MsgspecError, YAMLError, ValueError) as problem:  # a ValueError: no UTF-8, or 2024-13-45
        raise InvalidFileError(path, f"is not valid: {problem}", "correct that line") from None


def parse_duration(text: str) -> timedelta:
    """Return the duration that a text such as `7d` or `12h` names; anything else is a `SettingError`."""
    units = {"d": "days", "h": "hours"}
    number, unit = text[:-1], units.get(text[-1:])
    if not number.isdigit() or unit is None:
        raise SettingError("a duration", f"is {text!r}", "write days or hours, such as 7d or 12h")
    return timedelta(**{unit: int(number)})
