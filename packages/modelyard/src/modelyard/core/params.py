"""What every module shares: parameters, paths, digests, and files that are written whole or not at all."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from yaml import YAMLError

from modelyard.core.errors import UserError
from modelyard.core.paths import PARAMS_YAML
from modelyard.core.yaml import read_yaml

GATE_RULES_VARIABLE = "GATE_RULES_FROM"  # set while an older version of this code judges a newer branch
PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class ParamsSection(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A block of params.yaml: a misspelt key is an error, not a silent default."""


class DataParams(ParamsSection, frozen=True):
    """The table: where it lies, what is predicted, and what the model may see."""

    path: str
    target: str
    task: str
    features: list[str]
    time: str | None = None
    group: str | None = None
    sensitive: list[str] = []
    left_out: dict[str, str] = {}


class SplitParams(ParamsSection, frozen=True):
    """How the holdout is taken: its share of the rows, at most so many, and the seed of the draw."""

    seed: int = 0
    holdout: float = 0.2
    rows: PositiveInt = 1 << 18


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
    """The estimator: a dotted scikit-learn name, its arguments, which rows it learns from, and where it starts."""

    estimator: str
    arguments: dict[str, Any] = {}
    window: str = "all"
    start: StartParams | None = None
    threads: int = 1
    megabytes: PositiveInt = 8192


class EvaluateParams(ParamsSection, frozen=True):
    """The primary metric, and what each error costs (`cost[truth][prediction]`) where that is known."""

    metric: str
    cost: list[list[float]] | None = None


class GateParams(ParamsSection, frozen=True):
    """What a change must keep; a margin of null is the metric's own default."""

    margin: float | None = None
    confidence: float = 0.95  # of every interval
    inconclusive: str = "warn"
    drop: float = 2.0  # margins that may be lost since the last promotion, by one change or many
    floors: dict[str, float] = {}
    ceiling: float | None = None
    slices: list[str] = []
    fairness: float | None = None  # the largest gap between the groups of a sensitive column
    megabytes: float | None = None
    milliseconds: float | None = None
    seconds: float | None = None
    peak: float | None = None


class SearchRange(ParamsSection, frozen=True):
    """From where to where an argument is searched, and whether by orders of magnitude."""

    low: int | float
    high: int | float
    log: bool = False


class SweepParams(ParamsSection, frozen=True):
    """The search space: for each argument of the estimator a list of choices or a range."""

    trials: PositiveInt = 20
    folds: PositiveInt = 3
    space: dict[str, list[str | int | float | bool | None] | SearchRange] = {}


class LogParams(ParamsSection, frozen=True):
    """The prediction log: lines that may wait, seconds between writes, size of a file, files that stay."""

    queue: int = 20_000
    seconds: float = 1.0
    megabytes: int = 64
    files: int = 20


class ServeParams(ParamsSection, frozen=True):
    """What the service refuses: values outside schema.yaml (or flags them), what is too large or slow, strangers."""

    outside: Literal["refuse", "flag"] = "refuse"
    rows: int = 10_000
    megabytes: float = 10
    seconds: float = 10
    requests: int = 512
    keys: dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]] = {}
    log: LogParams = LogParams()
    light_table: bool = True
    lazy_pandas: bool = True
    transport: Literal["fast", "uvicorn"] = "fast"


class ScoreParams(ParamsSection, frozen=True):
    """Rows held in memory at a time for each core."""

    rows: int = 32_768


class ComputeParams(ParamsSection, frozen=True):
    """Where sweeps, importances and files go: to the cores of this machine, or to a cluster at an address."""

    backend: Literal["local", "dask", "ray"] = "local"
    address: str | None = None
    workers: PositiveInt = 1


class ServiceLevels(ParamsSection, frozen=True):
    """What a service must hold: the share of failed requests, p99 in ms, and equality with the pipeline."""

    errors: float = 0.01
    milliseconds: float = 250
    difference: float = 1e-5


class LoadTestParams(ParamsSection, frozen=True):
    """The load of the smoke test."""

    seconds: float = 3
    connections: int = 8


class DeployParams(ParamsSection, frozen=True):
    """The registry's repository, where each environment listens, and how a candidate gets its traffic."""

    repository: str | None = None
    signed: list[str] = []
    addresses: dict[str, str] = {}
    steps: tuple[int, ...] = (10, 50, 100)
    seconds: float = 30
    patience: float = 60
    levels: ServiceLevels = ServiceLevels()
    load: LoadTestParams = LoadTestParams()


class ReleaseParams(ParamsSection, frozen=True):
    """What a promoted model has to show before it is taken from its release, or deployed."""

    signed: list[str] = []


class MonitorParams(ParamsSection, frozen=True):
    """What is watched, in which windows, and how often it may cry wolf."""

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
    margin: float | None = None  # loss of the primary metric that is critical; none: gate.margin's
    broken: float = 0.01  # share of a column's values that may break schema.yaml
    volume: float = 0.5  # share of the usual traffic that may be lacking
    errors: float = 0.01  # share of requests that may fail
    milliseconds: float | None = None  # p99 of the service; none: not looked at
    cooldown: str = "7d"  # before the webhook says the same again


class RetrainParams(ParamsSection, frozen=True):
    """What starts a training, how often at most, and from which rows it learns."""

    schedule: str | None = None
    rows: int | None = None
    drift: bool = True
    performance: bool = True
    minimum: int = 500
    cooldown: str = "7d"
    budget: int = 4
    window: str | None = None
    stateful: bool = False


class Params(ParamsSection, frozen=True):
    """The whole of params.yaml, checked."""

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
    """A block without the keys that this code does not know: a later version may have added them."""
    if not isinstance(found, dict):
        return found
    kinds = {field.name: field.type for field in msgspec.structs.fields(kind)}
    nested = {name for name, one in kinds.items() if isinstance(one, type) and issubclass(one, ParamsSection)}
    return {
        key: drop_unknown_keys(found[key], kinds[key]) if key in nested else found[key] for key in found if key in kinds
    }


def load_params(path: Path = PARAMS_YAML) -> Params:
    """The parameters; a missing file, an unknown key or a wrong type is a `UserError` that names it."""
    try:
        found = read_yaml(path)
        if os.environ.get(GATE_RULES_VARIABLE):
            found = drop_unknown_keys(found, Params)
        return msgspec.convert(found, Params)
    except FileNotFoundError:
        raise UserError(f"there is no {path} here; run this in the project's folder") from None
    except (msgspec.MsgspecError, YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"{path} does not hold: {problem}; correct that line") from None


def parse_duration(text: str) -> timedelta:
    """A duration such as `7d` or `12h`; anything else is a `UserError`."""
    if not text[:-1].isdigit() or text[-1] not in "dh":
        raise UserError(f"{text!r} is no duration; write days or hours, such as 7d or 12h")
    return timedelta(**{"days" if text[-1] == "d" else "hours": int(text[:-1])})
