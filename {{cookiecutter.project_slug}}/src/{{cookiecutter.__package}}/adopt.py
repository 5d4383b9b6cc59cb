"""Verb: any CSV or Parquet table becomes the project's data, with a schema and parameters that suit it, or nothing."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from . import schema
from .config import HOLDOUT, LOCK, METRICS, MODEL, PARAMS, SCHEMA, TRAIN, Data, Params, UserError, load_params
from .delimited import open_text
from .facts import facts_of, hashed
from .infer import Findings, Wishes, infer
from .layout import blocks, new_params, readme
from .split import by_hash, hashes, held_out
from .tables import Table, existing, is_parquet, known, open_parquet, write
from .validate import load_schema

RAW = Path("data/raw")
README = RAW / "README.md"
IGNORE = RAW / ".gitignore"
UNDER_DVC = 50_000_000  # bytes, above which a repository is no place for a file
MADE = (LOCK, MODEL.parent, METRICS.parent, TRAIN, HOLDOUT)  # from the former data


def wished(target: str, time: str, group: str, sensitive: str, key: str, task: str) -> Wishes:
    """The options as what a person wishes; a column in two roles is a `UserError`."""

    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    wishes = Wishes(target, time or None, group or None, names(sensitive), names(key), task or None)
    for role in [*wishes.sensitive, wishes.time, wishes.group, *wishes.key]:
        if role == target:
            raise UserError(f"{target} is the target; it cannot be TIME, GROUP, SENSITIVE or KEY as well")
    return wishes


def opened(source: Path, wishes: Wishes, drop: bool, missing: str, sep: str, encoding: str) -> Table:
    """The source as a typed table that has the columns that were named."""
    full = {wishes.target, wishes.time or ""} if drop else set()
    if is_parquet(source):
        table = open_parquet(source, wishes.time or "", full)
    else:
        table = open_text(source, wishes.time or "", missing, sep, encoding, full)
    known(source, table.names, *wishes.named)
    return table


def converted(source: Path, table: Table, wishes: Wishes, draft: Path, drop: bool) -> list[str]:
    """Write the table as Parquet and say which rows gaps cost; gaps nobody allowed are a `UserError`."""
    required = [name for name in (wishes.target, wishes.time) if name]
    done = write(table, draft, required, drop)
    lacking = [f"{done.gaps[name]:,} have no {name}" for name in required if done.gaps[name]]
    for name in required:
        if done.gaps[name] == done.read:
            raise UserError(f"{name} in {source} has no value in any of {done.read:,} rows; name another column")
    if lacking and not drop:
        raise UserError(f"of {done.read:,} rows {' and '.join(lacking)}; add DROP=1 to leave them out")
    infinite = [f"{name} ({count:,})" for name, count in done.infinite.items() if count]
    if infinite:
        raise UserError(f"{source} has infinite values in {', '.join(infinite)}; correct them, or leave them empty")
    return (
        [f"{done.read - done.rows:,} of {done.read:,} rows were left out: {' and '.join(lacking)}"] if lacking else []
    )


def held(path: Path, data: Data, key: list[str], share: float, seed: int) -> np.ndarray | None:
    """Which rows the split will hold out, with a few bytes a row in memory; None where chance decides by class."""
    if data.time:
        table = pq.read_table(path, columns=[data.time]).to_pandas()
        if data.group:
            table[data.group] = hashed(path, [data.group], hashes)
        return held_out(table, data, [], share, seed)
    names = [data.group] if data.group else key
    return hashed(path, names, lambda rows: by_hash(rows, share, seed)) if names else None


def check_split(path: Path, wishes: Wishes, found: Findings, params: Params) -> str:
    """How rows will be parted, after it was tried: both sides must hold rows, and more than one class."""
    data = replace(params.data, target=wishes.target, task=found.task, time=wishes.time, group=wishes.group)
    chosen = held(path, data, found.key, params.split.holdout, params.split.seed)
    if chosen is None:
        return "by chance, class by class" if found.task == "classification" else "by chance"
    target = pq.read_table(path, columns=[wishes.target])[wishes.target]
    for side, rows in (("training rows", ~chosen), ("holdout", chosen)):
        values = pc.unique(target.filter(pa.array(rows)))
        if len(values) < (2 if found.task == "classification" else 1):
            what = f"only {wishes.target} = {values[0]}" if len(values) else "no rows"
            raise UserError(f"the {side} would hold {what}; name another TIME or GROUP, or bring more rows")
    by = [f"{word} {name}" for word, name in (("group", wishes.group), ("time", wishes.time)) if name]
    return "by " + (" and ".join(by) or f"the key {', '.join(found.key)}")


@contextmanager
def swapped(scratch: Path, new: dict[Path, Path], gone: list[Path], may_appear: list[Path]) -> Iterator[None]:
    """Put new files in place and old ones away; when the block fails, everything is as it was."""
    aside: list[Path] = []
    try:
        for path in dict.fromkeys([*gone, *new]):
            if path.exists():
                kept = scratch / "old" / path
                kept.parent.mkdir(parents=True, exist_ok=True)
                path.replace(kept)
                aside.append(path)
        for path, draft in new.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.replace(path)
        yield
    except BaseException:
        for path in [*new, *may_appear]:
            path.unlink(missing_ok=True)
        for path in aside:
            (scratch / "old" / path).replace(path)
        raise


def former(params: Params, scratch: Path) -> tuple[list[Path], dict[Path, Path]]:
    """The files of the former data that go, and data/raw/.gitignore without the file that DVC kept there."""
    old = Path(params.data.path)
    gone = list(MADE)
    if RAW in old.parents:
        gone += [old, old.with_name(f"{old.name}.dvc")]
    if not IGNORE.exists():
        return gone, {}
    lines = [line for line in IGNORE.read_text(encoding="utf-8").splitlines() if line not in (f"/{old.name}", "")]
    draft = scratch / "gitignore"
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*gone, IGNORE], {IGNORE: draft} if lines else {}


def dvc_add(path: Path) -> None:
    """Put a large file under DVC, and no longer under git; DVC's refusal is a `UserError`."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments, "--", str(path)], capture_output=True, check=False)

    git("rm", "--cached", "--quiet", "--ignore-unmatch")
    command = [sys.executable, "-m", "dvc", "add", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        git("reset", "--quiet")
        last = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise UserError(f"DVC did not take {path} ({last}); the project is as it was")


def told(table: Table, wishes: Wishes, found: Findings, split: str) -> list[tuple[str, str, str]]:
    """What was inferred and why, as the rows of a table."""
    left = found.left_out.items()
    read = table.notes.items()
    return [
        ("target", wishes.target, ""),
        ("task", found.task, found.reasons["task"]),
        ("metric", found.metric, found.reasons["metric"]),
        ("split", split, "" if wishes.time or wishes.group else "TIME=… and GROUP=… say which rows belong together"),
        ("estimator", found.estimator.rpartition(".")[2], found.reasons["estimator"]),
        ("features", f"{len(found.features)} of {len(table.names)} columns", ""),
        *((("" if i else "left out"), name, why) for i, (name, why) in enumerate(left)),
        *((("" if i else "read as"), name, kind) for i, (name, kind) in enumerate(read)),
    ]


def show(lines: list[tuple[str, str, str]], limit: int = 30) -> None:
    """Print the rows in columns, the first ones of many."""
    width = min(40, max(len(value) for _, value, _ in lines))
    for title, value, why in lines[:limit]:
        print(f"  {title:<11}{value:<{width}}  {why}".rstrip())
    if len(lines) > limit:
        print(f"  {'':<11}… and {len(lines) - limit} more, in {PARAMS}")


def prepared(scratch: Path, source: Path, path: Path, wishes: Wishes, old: Params) -> Findings:
    """Write the four new files into the scratch folder."""
    draft = scratch / path.name
    facts = facts_of(draft)
    found = infer(draft, facts, wishes, old.split.holdout)
    classes = wishes.target if found.task == "classification" else None
    texts = {
        "schema.yaml": schema.inferred(facts, classes, found.key),
        "params.yaml": new_params(PARAMS.read_text(encoding="utf-8"), blocks(path, wishes, found, old)),
        "README.md": readme(source, path, facts, wishes.target, found.left_out),
    }
    for name, text in texts.items():
        (scratch / name).write_text(text, encoding="utf-8")
    load_params(scratch / "params.yaml")
    load_schema(scratch / "schema.yaml")
    return found


def adopt(source: Path, wishes: Wishes, drop: bool, missing: str, sep: str, encoding: str) -> None:
    """Make a table the project's data and say what was inferred; on any error nothing has changed."""
    old, source = load_params(), existing(source)
    slug = re.sub(r"[^a-z0-9]+", "-", source.name.partition(".")[0].lower()).strip("-") or "table"
    path = RAW / f"{slug}.parquet"
    scratch = Path(tempfile.mkdtemp(prefix=".adopt-", dir="."))
    try:
        table = opened(source, wishes, drop, missing, sep, encoding)
        notes = converted(source, table, wishes, scratch / path.name, drop)
        found = prepared(scratch, source, path, wishes, old)
        lines = told(table, wishes, found, check_split(scratch / path.name, wishes, found, old))
        size = (scratch / path.name).stat().st_size
        gone, ignored = former(old, scratch)
        new = {path: path.name, README: "README.md", SCHEMA: "schema.yaml", PARAMS: "params.yaml"}
        drafts = {to: scratch / name for to, name in new.items()} | ignored
        with swapped(scratch, drafts, gone, [IGNORE, path.with_name(f"{path.name}.dvc")]):
            if size > UNDER_DVC:
                dvc_add(path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{'adopt':<10}{source.name}: {found.rows:,} rows, {len(table.names)} columns → {path} ({size / 1e6:.1f} MB)")
    show(lines)
    notes += found.notes
    if size > UNDER_DVC:
        notes.append(f"{path} is large and went under DVC: `make remote` gives it a home before the first push")
    for note in notes:
        print(f"  note       {note}")
    print("  next       `make pipeline`; dvc.lock, models and reports of the former data are gone")


def main(
    csv: str = "",
    target: str = "",
    time: str = "",
    group: str = "",
    sensitive: str = "",
    key: str = "",
    task: str = "",
    drop: bool = False,
    missing: str = "",
    sep: str = "",
    encoding: str = "",
) -> int:
    """Make a table the project's data: CSV=path TARGET=column [TIME=…] [GROUP=…] [SENSITIVE=a,b] [KEY=a,b].

    TASK=classification or regression overrules the guess; DROP=1 leaves out rows without target or time;
    MISSING=a,b names further words for a missing value; SEP and ENCODING overrule what the file seems to have.
    """
    if not csv or not target:
        raise UserError("name a table and the column to predict: make adopt CSV=path TARGET=column")
    wishes = wished(target, time, group, sensitive, key, task)
    adopt(Path(csv).expanduser(), wishes, drop, missing, sep, encoding)
    return 0
