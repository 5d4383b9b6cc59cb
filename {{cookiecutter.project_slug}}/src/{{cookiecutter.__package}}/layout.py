"""What adopt writes: params.yaml in its usual layout, and the page beside the data."""

import re
from pathlib import Path

from .config import Params
from .facts import Facts
from .infer import Findings, Wishes
from .schema import CATEGORIES, scalar

HINTS = {
    "task": "or regression",
    "time": "rows are split by it; null: by the schema's key, else at random",
    "group": "rows of one group stay together",
    "features": "what is known when the prediction is wanted, nothing else",
    "left_out": "the model does not see these: move a name to features to put it back",
    "sensitive": "the report compares the groups of these columns",
    "window": "or the last 90d, or the last 50000 rows",
    "threads": "more learn faster, but the model then depends on their number",
    "cost": 'cost[truth][prediction], for the metric "cost"',
    "margin": "what a change may lose; null: the metric's default (docs/gate.md)",
    "inconclusive": "or block",
    "floors": "what guessing reaches on this table",
    "ceiling": "such as 0.98 for roc_auc: better than this is a leak until shown otherwise",
}


def row(name: str, value: object, indent: int = 2) -> str:
    """A line of params.yaml, with its comment in the comment's column."""
    line = f"{' ' * indent}{scalar(name)}: {scalar(value)}".rstrip()
    return f"{line:<29} # {HINTS[name]}" if name in HINTS else line


def listed(name: str, rows: list[str]) -> list[str]:
    """A list or mapping of params.yaml, an item a line."""
    return [f"{f'  {name}:':<29} # {HINTS[name]}" if name in HINTS else f"  {name}:", *rows]


def blocks(path: Path, wishes: Wishes, found: Findings, old: Params) -> dict[str, list[str]]:
    """The lines of the blocks of params.yaml that depend on the table."""
    features = [f"    - {scalar(name)}" for name in found.features]
    out = [row(name, why, 4) for name, why in found.left_out.items()]
    gate: dict[str, object] = {"margin": None, "inconclusive": old.gate.inconclusive, "slices": found.slices}
    gate |= {"floors": {found.metric: found.floor}, "ceiling": None}
    gate |= {name: value for name in ("megabytes", "milliseconds") if (value := getattr(old.gate, name)) is not None}
    gate = {
        name: int(value) if isinstance(value, float) and value == int(value) else value for name, value in gate.items()
    }
    train = [row(name, value, 4) for name, value in found.arguments.items()]
    space = [row(name, value, 4) for name, value in found.space.items()]
    return {
        "data": [
            row("path", str(path)),
            row("task", found.task),
            row("target", wishes.target),
            row("time", wishes.time),
            row("group", wishes.group),
            *listed("features", features),
            *(listed("left_out", out) if out else [row("left_out", {})]),
            row("sensitive", wishes.sensitive),
        ],
        "train": [
            row("estimator", found.estimator),
            *listed("arguments", train),
            row("window", "all"),
            row("threads", old.train.threads),
        ],
        "evaluate": [row("metric", found.metric), row("cost", None)],
        "gate": [row(name, value) for name, value in gate.items()],
        "sweep": [row("trials", old.sweep.trials), row("folds", old.sweep.folds), *listed("space", space)],
    }


def new_params(text: str, made: dict[str, list[str]]) -> str:
    """params.yaml with its table-dependent blocks replaced; the others stay as they are, comments included."""
    parts = re.split(r"(?m)^(?=\w)", text)
    kept = {part.partition(":")[0]: part for part in parts if part.partition(":")[0].isidentifier()}
    for name, lines in made.items():
        kept[name] = f"{name}:\n" + "\n".join(lines) + "\n\n"
    head = "" if parts[0].partition(":")[0] in kept else parts[0]
    return head + "".join(kept.values()).rstrip() + "\n"


def readme(source: Path, path: Path, facts: dict[str, Facts], target: str, left_out: dict[str, str]) -> str:
    """The page beside the data: where the table came from and what its columns hold."""
    rows = next(iter(facts.values())).rows
    lines = [
        f"# {path.name}\n",
        f"{rows:,} rows and {len(facts)} columns, adopted from `{source.name}`.\n",
        "| column | type | holds | missing | |",
        "|---|---|---|---|---|",
    ]
    for column in facts.values():
        note = "the target" if column.name == target else left_out.get(column.name, "")
        cells = (f"`{column.name}`", column.type, holds(column), f"{column.gaps:,}", note)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def holds(column: Facts) -> str:
    """What a column holds, in a few words."""
    if column.gaps == column.rows:
        return "nothing"
    if column.values is not None and column.type == "str" and len(column.values) <= CATEGORIES:
        return ", ".join(" ".join(value.split()) for value in column.distinct)
    return f"{column.low} to {column.high}" if column.type != "str" else f"text of up to {column.longest} characters"
