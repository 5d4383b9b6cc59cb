"""TODO doc."""

import os
from typing import Any

import yaml

from modelyard.core.dvc_lock import lock, outs, stale
from modelyard.core.errors import UserError
from modelyard.core.files import read_json
from modelyard.core.git_objects import at, checkout
from modelyard.core.model_at import run
from modelyard.core.paths import LOCK, METRICS
from modelyard.core.process import DVC, git


def metric_gaps(said: dict[str, float], made: dict[str, float], tolerance: float) -> list[str]:
    """The metrics that a fresh run does not confirm."""
    pairs = {name: (said.get(name, float("nan")), made.get(name, float("nan"))) for name in sorted({**said, **made})}
    return [f"{n} {said.get(n)} but {made.get(n)}" for n, (a, b) in pairs.items() if not abs(a - b) <= tolerance]


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
    own = {*outs(lock(), "deps"), str(LOCK), "dvc.yaml", "params.yaml", ".python-version"}
    return any(name in own or name.startswith(("src/", "packages/", "requirements/", "data/")) for name in changed)
