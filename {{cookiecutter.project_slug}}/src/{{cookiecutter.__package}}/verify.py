"""Verb: everything runs again in a scratch checkout, and dvc.lock must say what comes out.

Two dvc.lock files can merge without a conflict into one that no run ever made; `dvc status` does not see it.
"""

import os
from typing import Any, NamedTuple

import yaml

from .champion import at, checkout, outs, run
from .config import DVC, LOCK, METRICS, MODEL, UserError, git, read_json

# What follows from the model: other bytes there are reported, since another processor may round differently.
FOLLOWS = (str(MODEL), "models/rows.npy", "reports/predictions.parquet", "reports/plots", str(METRICS))


class Difference(NamedTuple):
    """One place where two dvc.lock files say different things."""

    stage: str
    part: str  # cmd, deps, params, outs or stage
    name: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, self))

    @property
    def weighs(self) -> bool:
        """Whether it shows that a lock is false: everything but the model and what follows from it."""
        return self.part not in ("deps", "outs") or self.name not in FOLLOWS


def flat(lock: dict[str, Any]) -> dict[Difference, Any]:
    """A dvc.lock as place → digest or value."""
    found: dict[Difference, Any] = {}
    for name, stage in lock.get("stages", {}).items():
        found |= {Difference(name, "stage"): True, Difference(name, "cmd"): stage.get("cmd")}
        for part in ("deps", "outs"):
            found |= {Difference(name, part, row["path"]): row.get("md5") for row in stage.get(part, [])}
        for values in stage.get("params", {}).values():
            found |= {Difference(name, "params", key): value for key, value in values.items()}
    return found


def differences(said: dict[str, Any], made: dict[str, Any]) -> list[Difference]:
    """Where a committed dvc.lock and a fresh one differ; a stage that only one has is one difference."""
    old, new = flat(said), flat(made)
    found = [place for place in {**old, **new} if old.get(place) != new.get(place)]
    alone = {place.stage for place in found if place.part == "stage"}
    return [place for place in found if place.part == "stage" or place.stage not in alone]


def stale(said: dict[str, Any], made: dict[str, Any]) -> list[Difference]:
    """Where a committed dvc.lock was not made from the files beside it; other outputs alone do not count."""
    made_here = set(outs(made)) | set(FOLLOWS)
    return [d for d in differences(said, made) if d.part != "outs" and d.name not in made_here]


def metric_gaps(said: dict[str, float], made: dict[str, float], tolerance: float) -> list[str]:
    """The metrics that a fresh run does not confirm."""
    pairs = {name: (said.get(name, float("nan")), made.get(name, float("nan"))) for name in sorted({**said, **made})}
    return [f"{n} {said.get(n)} but {made.get(n)}" for n, (a, b) in pairs.items() if not abs(a - b) <= tolerance]


def lock() -> dict[str, Any]:
    """The dvc.lock of this folder."""
    return yaml.safe_load(LOCK.read_text(encoding="utf-8")) or {} if LOCK.exists() else {}


def warn(kind: str, sentence: str) -> None:
    """Say it on the terminal, and in GitHub Actions as an annotation of dvc.lock."""
    mark = f"::{kind} file={LOCK},title=dvc.lock::" if os.environ.get("GITHUB_ACTIONS") else f"{kind}: "
    print(mark + sentence, flush=True)


def fresh() -> int:
    """Warn when the committed dvc.lock is older than the files beside it; never fails."""
    said, cure = at("HEAD", LOCK), "run `make pipeline` and commit dvc.lock and reports/"
    if not said:
        warn("warning", f"there is no dvc.lock in this commit: {cure}")
    elif found := stale(said, lock()):
        names = ", ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        warn("warning", f"it is stale ({names}): {cure}")
    return 0


def rerun() -> tuple[dict[str, Any], dict[str, float]]:
    """The dvc.lock and the metrics that the commit's own code makes, from the raw data on."""
    with checkout("HEAD") as project:
        run(project, *DVC, "checkout", "--quiet", "--allow-missing", "--force")
        run(project, *DVC, "repro", "--quiet", "--force", "--no-run-cache")
        made = yaml.safe_load((project / LOCK).read_text(encoding="utf-8"))
        return made, read_json(project / METRICS)


def touched(base: str) -> bool:
    """Whether anything that the pipeline reads differs between a commit and this one; unknown counts as yes."""
    try:
        changed = git("diff", "--name-only", base, "HEAD").splitlines()
    except UserError:
        return True
    read = {row["path"] for stage in lock().get("stages", {}).values() for row in stage.get("deps", [])}
    own = read | {str(LOCK), "dvc.yaml", "params.yaml", ".python-version"}
    return any(name in own or name.startswith(("src/", "requirements/", "data/")) for name in changed)


def main(base: str = "", rerun_all: bool = True, tolerance: float = 1e-6) -> int:
    """Run everything again in a scratch checkout and hold dvc.lock to it; RERUN_ALL=0 only looks for a stale one."""
    if not rerun_all:
        return fresh()
    if base and not touched(base):
        print(f"{'verify':<10}nothing that the pipeline reads changed since {base[:12]}")
        return 0
    said, metrics = at("HEAD", LOCK), at("HEAD", METRICS)
    if not said or not metrics:
        return fresh()
    made, now = rerun()
    found = differences(said, made)
    gaps = metric_gaps(metrics, now, tolerance)
    if wrong := [*map(str, filter(lambda d: d.weighs, found)), *gaps]:
        warn("error", f"it is false: {', '.join(wrong)}; run `dvc repro --force` and commit what it makes")
        return 1
    if found:
        warn("notice", f"this machine makes another model with the same metrics ({', '.join(map(str, found))})")
    print(f"{'verify':<10}dvc.lock says what a fresh run makes")
    return 0
