"""What every module shares: parameters, paths, digests, and files that are written whole or not at all."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial, reduce
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

PARAMS = Path("params.yaml")
SCHEMA = Path("schema.yaml")
LOCK = Path("dvc.lock")
DATA = Path("reports/data.json")
TRAIN = Path("data/train.parquet")
HOLDOUT = Path("data/holdout.parquet")
MODEL = Path("models/model.skops")
ROWS = Path("models/rows.npy")
METRICS = Path("reports/metrics.json")
PREDICTIONS = Path("reports/predictions.parquet")
TRAINING = Path("reports/training.json")  # what it took here; no two machines agree, so git does not keep it
PLOTS = Path("reports/plots")
VERDICT = Path("reports/verdict.json")
REPORT = Path("reports/report.md")
DVC = (sys.executable, "-m", "dvc")
JUDGED_BY = "GATE_RULES_FROM"  # set while an older version of this code judges a newer branch


Positive = Annotated[int, msgspec.Meta(ge=1)]


class UserError(Exception):
    """A sentence for the person at the keyboard: what is wrong and what to do about it."""

    def __init__(self, sentence: str, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code


class Broken(UserError):
    """A link of the chain from what runs back to the data does not hold."""

    def __init__(self, link: str, sentence: str) -> None:
        super().__init__(f"the link `{link}` does not hold: {sentence}")
        self.link = link


class Block(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A block of params.yaml: a misspelt key is an error, not a silent default."""


class Data(Block, frozen=True):
    """The table: where it lies, what is predicted, and what the model may see."""

    path: str
    target: str
    task: str
    features: list[str]
    time: str | None = None
    group: str | None = None
    sensitive: list[str] = []
    left_out: dict[str, str] = {}


class Split(Block, frozen=True):
    """How the holdout is taken: its share of the rows, at most so many, and the seed of the draw."""

    seed: int = 0
    holdout: float = 0.2
    rows: Positive = 1 << 18


class Train(Block, frozen=True):
    """The estimator: a dotted scikit-learn name, its arguments, which rows it learns from, and where it starts."""

    estimator: str
    arguments: dict[str, Any] = {}
    window: str = "all"
    start: str | None = None
    threads: int = 1
    megabytes: Positive = 8192


class Evaluate(Block, frozen=True):
    """The primary metric, and what each error costs (`cost[truth][prediction]`) where that is known."""

    metric: str
    cost: list[list[float]] | None = None


class Gate(Block, frozen=True):
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


class Range(Block, frozen=True):
    """From where to where an argument is searched, and whether by orders of magnitude."""

    low: int | float
    high: int | float
    log: bool = False


class Sweep(Block, frozen=True):
    """The search space: for each argument of the estimator a list of choices or a range."""

    trials: Positive = 20
    folds: Positive = 3
    space: dict[str, list[str | int | float | bool | None] | Range] = {}


class Log(Block, frozen=True):
    """The prediction log: lines that may wait, seconds between writes, size of a file, files that stay."""

    queue: int = 20_000
    seconds: float = 1.0
    megabytes: int = 64
    files: int = 20


class Serve(Block, frozen=True):
    """What the service refuses: values outside schema.yaml (or flags them), what is too large or slow, strangers."""

    outside: Literal["refuse", "flag"] = "refuse"
    rows: int = 10_000
    megabytes: float = 10
    seconds: float = 10
    requests: int = 512
    keys: dict[str, Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]] = {}
    log: Log = Log()


class Score(Block, frozen=True):
    """Rows held in memory at a time for each core."""

    rows: int = 32_768


class Compute(Block, frozen=True):
    """Where sweeps, importances and files go: to the cores of this machine, or to a cluster at an address."""

    backend: Literal["local", "dask", "ray"] = "local"
    address: str | None = None
    workers: Positive = 1


class Levels(Block, frozen=True):
    """What a service must hold: the share of failed requests, p99 in ms, and equality with the pipeline."""

    errors: float = 0.01
    milliseconds: float = 250
    difference: float = 1e-5


class Load(Block, frozen=True):
    """The load of the smoke test."""

    seconds: float = 3
    connections: int = 8


class Deploy(Block, frozen=True):
    """The registry's repository, where each environment listens, and how a candidate gets its traffic."""

    repository: str | None = None
    signed: list[str] = []
    addresses: dict[str, str] = {}
    steps: tuple[int, ...] = (10, 50, 100)
    seconds: float = 30
    patience: float = 60
    levels: Levels = Levels()
    load: Load = Load()


class Release(Block, frozen=True):
    """What a promoted model has to show before it is taken from its release, or deployed."""

    signed: list[str] = []


class Monitor(Block, frozen=True):
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


class Retrain(Block, frozen=True):
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


class Params(Block, frozen=True):
    """The whole of params.yaml, checked."""

    data: Data
    train: Train
    evaluate: Evaluate
    seed: int = 0
    split: Split = Split()
    gate: Gate = Gate()
    sweep: Sweep = Sweep()
    serve: Serve = Serve()
    score: Score = Score()
    compute: Compute = Compute()
    release: Release = Release()
    deploy: Deploy = Deploy()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()


def known(found: Any, kind: type[Block]) -> Any:
    """A block without the keys that this code does not know: a later version may have added them."""
    if not isinstance(found, dict):
        return found
    kinds = {field.name: field.type for field in msgspec.structs.fields(kind)}
    nested = {name for name, one in kinds.items() if isinstance(one, type) and issubclass(one, Block)}
    return {key: known(found[key], kinds[key]) if key in nested else found[key] for key in found if key in kinds}


def load_params(path: Path = PARAMS) -> Params:
    """The parameters; a missing file, an unknown key or a wrong type is a `UserError` that names it."""
    try:
        if os.environ.get(JUDGED_BY):
            return msgspec.convert(known(msgspec.yaml.decode(path.read_bytes()), Params), Params)
        return msgspec.yaml.decode(path.read_bytes(), type=Params)
    except FileNotFoundError:
        raise UserError(f"there is no {path} here; run this in the project's folder") from None
    except msgspec.MsgspecError as problem:
        raise UserError(f"{path} does not hold: {problem}; correct that line") from None


def span(text: str) -> timedelta:
    """A duration such as `7d` or `12h`; anything else is a `UserError`."""
    if not text[:-1].isdigit() or text[-1] not in "dh":
        raise UserError(f"{text!r} is no duration; write days or hours, such as 7d or 12h")
    return timedelta(**{"days" if text[-1] == "d" else "hours": int(text[:-1])})


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `path` when the block ends well, and vanishes when not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """The JSON value in a file; a missing or broken file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; `make pipeline` makes it") from None
    except ValueError as problem:
        raise UserError(f"{path} is not JSON ({problem}); delete it and make it anew") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole, keys in order, so that equal values give equal bytes."""
    with atomic(path) as draft:
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        draft.write_text(text + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5(what: Path | bytes) -> str:
    """DVC's own name for a file or some bytes; what they are is said by SHA-256."""
    with io.BytesIO(what) if isinstance(what, bytes) else what.open("rb") as file:
        return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def git(*arguments: str, cwd: Path = Path()) -> str:
    """What git answers, stripped; a refusal is a `UserError` with git's own words."""
    try:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError("git is not installed; install it and try again") from None
    except subprocess.CalledProcessError as problem:
        raise UserError(f"git {arguments[0]}: {last_words(problem.stderr)}") from None
    return done.stdout.strip()


def dvc(*arguments: str | Path, shown: bool = False) -> subprocess.CompletedProcess[str]:
    """What DVC answers; its words go to the terminal when they are to be shown."""
    return subprocess.run([*DVC, *map(str, arguments)], capture_output=not shown, text=True, check=False)


def last_words(text: str) -> str:
    """The last line that a tool said of the matter itself."""
    if first := re.search(r"failed to transfer '.*' - (.*)", text):  # DVC's last line only counts them
        return first[1]
    lines = [line.strip() for line in text.splitlines() if "https://" not in line and not line.startswith("make")]
    last = next(filter(None, reversed(lines)), "without a word")
    return re.sub("^(error|fatal): (unexpected error - )?", "", last, flags=re.IGNORECASE)


def flat(block: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with names such as `split.holdout`; an empty one stays a value."""
    if not isinstance(block, dict) or (prefix and not block):
        return {prefix.rstrip("."): block}
    return {key: value for name, inner in block.items() for key, value in flat(inner, f"{prefix}{name}.").items()}


def within(block: Any, name: str) -> Any:
    """What nested mappings hold under a name such as `split.holdout`; None where they hold nothing."""
    return reduce(lambda node, part: (node or {}).get(part), name.split("."), block)


@contextmanager
def stage(name: str, rows_in: int | None = None) -> Iterator[dict[str, Any]]:
    """Print one line when the stage ends: its name, rows in, what the block noted, and seconds."""
    start, notes = time.perf_counter(), dict[str, Any]()
    yield notes
    out = "  ".join(f"{key} {value:,}" if isinstance(value, int) else f"{key} {value}" for key, value in notes.items())
    told = "" if rows_in is None else f"{rows_in:>12,} rows in  "
    print(f"{name:<10}{told}{out}  {time.perf_counter() - start:.1f} s", flush=True)
