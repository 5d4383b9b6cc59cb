"""The champion: which model a change is held against, where its bytes are, and what it says of today's rows."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from .config import DVC, LOCK, MODEL, PARAMS, ROWS, SCHEMA, TRAIN, UserError, git, last_words, load_params, md5, sha256

PRODUCTION = "deploy/production.yaml"
CACHE = Path(".dvc/cache/files/md5")
CHANGING = (str(LOCK), str(PARAMS), str(SCHEMA), "src")  # what a change that is judged may change


@dataclass(frozen=True)
class Champion:
    """A model by digest, the commit whose code made it, and why it is the one; `dummy` has neither."""

    source: str
    model: str | None = None
    commit: str | None = None


def blob(commit: str, path: str | Path) -> bytes | None:
    """A file's bytes at a commit, or None where that commit has no such file."""
    try:
        return subprocess.check_output(["git", "cat-file", "blob", f"{commit}:./{path}"], stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None


def at(commit: str, path: str | Path) -> Any:
    """The YAML or JSON of a file at a commit, or None where that commit has no such file."""
    return None if (there := blob(commit, path)) is None else yaml.safe_load(there)


def commit_of(name: str) -> str | None:
    """The commit that a name stands for, or None where it is none; an option is none."""
    try:
        return None if name.startswith("-") else git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    except UserError:
        return None


def resolve(base: str | None) -> str:
    """The commit that a change is held against: BASE, else the default branch's tip, else the commit before.

    The tip also where it is this commit, and what is here is a change to it that is not committed.
    """
    if base:
        if found := commit_of(base):
            return found
        raise UserError(f"BASE {base} is no commit here; fetch it, or name another one")
    if not (head := commit_of("HEAD")):
        raise UserError("nothing is committed yet; `git add -A && git commit`, then run this again")
    for name in ("origin/HEAD", "origin/main", "origin/master", "main", "master"):
        if (tip := commit_of(name)) and (tip != head or git("status", "--porcelain", "--", *CHANGING)):
            return tip
    return commit_of("HEAD~1") or head


def find(base: str, target: str) -> Champion:
    """The deployed model, else the one at `base`, else none (a dummy): also when the target changed."""
    deployed = (at(base, PRODUCTION) or {}).get("champion")
    if deployed:
        found = Champion("deployed", deployed["model"], deployed["commit"])
    else:
        found = Champion("base", None, base)
    params, lock = at(str(found.commit), PARAMS), at(str(found.commit), LOCK)
    if not params or not lock or params["data"]["target"] != target:
        return Champion("dummy")
    return found


def lock() -> dict[str, Any]:
    """The dvc.lock of this folder."""
    return yaml.safe_load(LOCK.read_text(encoding="utf-8")) or {} if LOCK.exists() else {}


def outs(lock: dict[str, Any], part: str = "outs") -> dict[str, str]:
    """The MD5 of every output (or of `deps`) that a dvc.lock names: where DVC's cache keeps its bytes."""
    rows = (row for stage in lock.get("stages", {}).values() for row in stage.get(part, []))
    return {row["path"]: row["md5"] for row in rows if "md5" in row}


def own_model() -> None:
    """The model here is the one that dvc.lock names, byte for byte; another is a `UserError`."""
    if outs(lock()).get(str(MODEL)) not in (None, md5(MODEL)):
        raise UserError(f"{MODEL} is not the model that {LOCK} names; `make pipeline` brings that back")


def cached(digest: str | None) -> Path:
    """Where DVC's cache keeps the bytes of an MD5; nothing is there for none."""
    return CACHE / (digest or "none")[:2] / (digest or "none")[2:]


def learned(project: Path) -> np.ndarray:
    """The hashes of the rows that a model learned from; a file that holds anything else is a `UserError`."""
    try:
        return np.asarray(np.load(project / ROWS, allow_pickle=False))
    except (ValueError, OSError, EOFError):
        raise UserError(f"{project / ROWS} holds no hashes of rows; `make pipeline` makes it anew") from None


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A scratch checkout of a commit that shares our DVC cache and is gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="checkout-"))
    try:
        git("worktree", "add", "--quiet", "--detach", "--force", str(folder), commit)
        top = git("rev-parse", "--show-prefix")
        project = folder / top
        cache = Path(".dvc/cache").resolve()
        (project / ".dvc").mkdir(parents=True, exist_ok=True)
        (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {cache}\n", encoding="utf-8")
        yield project
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        git("worktree", "prune")


def run(project: Path, *command: str) -> None:
    """Run a command with a checkout's own code; its last line becomes the `UserError` when it fails."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env = keep | {"PYTHONPATH": str(project / "src"), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(last_words(done.stderr or done.stdout))


def package(project: Path) -> str:
    """The name of the package in a checkout; it may have been another one then."""
    found = sorted((project / "src").glob("*/evaluate.py"))
    if not found:
        raise UserError("that commit has no package under src/")
    return found[0].parent.name


def bring(project: Path, champion: Champion) -> Champion:
    """Put the champion's model into its checkout: from DVC's cache or remote, else trained again."""
    where, files = outs(at(str(champion.commit), LOCK)), [project / MODEL, project / ROWS]
    for path in (MODEL, ROWS):
        held = cached(where.get(str(path)))
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        if held.is_file():
            shutil.copyfile(held, project / path)
    lacks = not all(file.exists() for file in files)
    if lacks and "[" in (project / ".dvc/config").read_text(encoding="utf-8").replace("[core]", ""):  # a remote
        command = [*DVC, "pull", "--quiet", str(MODEL), str(ROWS)]
        subprocess.run(command, cwd=project, capture_output=True, check=False)
        lacks = not all(file.exists() for file in files)
    if lacks:
        run(project, *DVC, "repro", "train")
    digest = sha256(project / MODEL)
    rebuilt = lacks or champion.model not in (None, digest)
    return Champion("rebuilt" if rebuilt else champion.source, digest, champion.commit)


def answers(project: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """What the model in a checkout says of raw rows, by that checkout's own code."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = Path(folder, "rows.parquet"), Path(folder, "answers.parquet")
        rows.to_parquet(here, index=False)
        code = f"from {package(project)}.evaluate import answer; answer({str(here)!r}, {str(there)!r})"
        run(project, sys.executable, "-c", code)
        return pd.read_parquet(there).set_axis(rows.index)


def retrain(project: Path, train: pd.DataFrame) -> None:
    """Train the champion's recipe on today's rows, without the features that are gone."""
    (project / TRAIN).parent.mkdir(parents=True, exist_ok=True)
    train.to_parquet(project / TRAIN, index=False)
    params = yaml.safe_load((project / PARAMS).read_text(encoding="utf-8"))
    params["data"]["features"] = [name for name in params["data"]["features"] if name in train]
    (project / PARAMS).write_text(yaml.safe_dump(params), encoding="utf-8")
    run(project, sys.executable, "-m", package(project), "train")


def dummy(rows: pd.DataFrame) -> pd.DataFrame:
    """What a model without any features says: the classes' shares in the training rows, or their mean."""
    params = load_params()
    target = pd.read_parquet(TRAIN, columns=[params.data.target])[params.data.target]
    if params.data.task != "classification":
        return pd.DataFrame({"prediction": float(target.mean())}, index=rows.index)
    shares = target.astype(str).value_counts(normalize=True).sort_index()
    said = {"prediction": str(shares.idxmax()), **{f"p_{name}": share for name, share in shares.items()}}
    return pd.DataFrame(said, index=rows.index)
