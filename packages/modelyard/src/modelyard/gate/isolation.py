"""The isolation of the judge: a branch is judged by the base's library and the base's rules, not by its own."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from modelyard.core.dvc_lock import IGNORED_PATHS, load_lock
from modelyard.core.errors import InvalidFileError, ToolError
from modelyard.core.git_objects import checkout_commit, find_commit, read_yaml_at
from modelyard.core.params import DataParams, EvaluateParams, GateParams, Params, SplitParams, drop_unknown_keys
from modelyard.core.paths import DVC_LOCK, LIBRARY_FOLDER, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git, run_process
from modelyard.core.protocol import GATE_RULES_VARIABLE
from modelyard.data.schema import read_key
from modelyard.statistics.metrics import UnknownMetricError, get_metric

LIBRARY_PACKAGE = LIBRARY_FOLDER.parent
RULE_SECTIONS = ("gate", "evaluate", "split")
RULE_COLUMNS = ("target", "task", "time", "group", "sensitive")  # of the section `data`: what is predicted and compared
MAX_NAMES = 5  # of changes in a sentence; the report lists all


@dataclass(frozen=True)
class BaseRules:
    """What judges a branch.

    Parameters
    ----------
    params
        The branch's parameters with the base's rules.
    key
        The columns that name a row.
    changed
        The names of the rules that the branch changes.
    obstacle
        Why the base's rules do not fit the branch, in words; empty where they do.
    lost
        The columns whose values the base compares, and that the data lacks.
    notes
        Sentences for the report.
    """

    params: Params
    key: list[str]
    changed: list[str]
    obstacle: str
    notes: list[str]
    lost: list[str] = field(default_factory=list)


def has_pipeline(base: str) -> bool:
    """Whether a commit has a model to be compared with: its parameters, and a dvc.lock."""
    return bool(read_yaml_at(base, PARAMS_YAML) and read_yaml_at(base, DVC_LOCK))


def apply_base_rules(base: str, params: Params, columns: Sequence[str]) -> BaseRules:
    """Replace what decides about a branch by that of the base: rules, target, time, group, key and sensitive columns.

    Parameters
    ----------
    base
        The commit that the change is compared with.
    params
        The branch's parameters, which hold where the base has no pipeline yet.
    columns
        The columns of the branch's data. Without a column that the base's split needs, or with another target, the
        branch's own `data` holds, and of the base's rules those that fit it.

    Raises
    ------
    InvalidFileError
        The base's parameters are not valid.
    """
    if not has_pipeline(base):
        is_itself = find_commit(base) == find_commit("HEAD")
        note = f"The base has no {DVC_LOCK} yet, so this branch was judged by its own rules."
        return BaseRules(params, read_key(), [], "", [] if is_itself else [note])
    base_params = read_base_params(base)
    key = list((read_yaml_at(base, SCHEMA_YAML) or {}).get("unique") or [])
    obstacle = find_obstacle(base_params.data, params.data, key, columns)
    own = {name: getattr(params.data, name) for name in RULE_COLUMNS if obstacle}
    kept = {"path": params.data.path, "features": params.data.features, "left_out": params.data.left_out}
    data = msgspec.structs.replace(base_params.data, **kept, **own)
    rules = {name: getattr(base_params, name) for name in RULE_SECTIONS}
    judged = msgspec.structs.replace(params, data=data, **rules)
    judged, lost = drop_lost_columns(judged, columns)
    if obstacle:
        judged = fit_rules_to_target(judged, params)
    changed = find_changed_rules(base_params, params, key)
    return BaseRules(judged, read_key() if obstacle else key, changed, obstacle, [], lost)


def read_base_params(base: str) -> Params:
    """Return the parameters of a commit, its defaults included; an `InvalidFileError` where they are not valid."""
    try:
        return msgspec.convert(drop_unknown_keys(read_yaml_at(base, PARAMS_YAML), Params), Params)
    except msgspec.ValidationError as problem:
        cure = "correct it on the base first, since its rules judge"
        raise InvalidFileError(PARAMS_YAML, f"of the base is not valid ({problem})", cure) from None


def find_obstacle(base: DataParams, branch: DataParams, key: list[str], columns: Sequence[str]) -> str:
    """Return why the base's rules cannot judge a branch: another target, or a column of the split that is gone."""
    if (base.target, base.task) != (branch.target, branch.task):
        return f"predicts `{branch.target}` ({branch.task}), and the base predicts `{base.target}` ({base.task})"
    split_columns = [name for name in (base.time, base.group) if name] or key
    lost = [name for name in (base.target, *split_columns) if name not in columns]
    if lost:
        return f"has no column {', '.join(f'`{name}`' for name in lost)}, by which the base splits and judges"
    return ""


def find_changed_rules(base: Params, branch: Params, key: list[str]) -> list[str]:
    """Return the names of what decides about a branch and is not as in the base."""
    changed = [name for name in RULE_SECTIONS if getattr(base, name) != getattr(branch, name)]
    changed += [f"data.{name}" for name in RULE_COLUMNS if getattr(base.data, name) != getattr(branch.data, name)]
    if key != read_key():
        changed.append("schema.unique")
    if not changed and was_split_otherwise(base, load_lock()):
        changed.append(f"the split in {DVC_LOCK}")
    return changed


def was_split_otherwise(base: Params, lock: dict[str, Any]) -> bool:
    """Whether the rows that a branch's model was trained on come from another split than the base's, by dvc.lock."""
    used = lock.get("stages", {}).get("split", {}).get("params", {}).get(str(PARAMS_YAML))
    if not used:
        return False
    try:
        split = msgspec.convert(drop_unknown_keys(used.get("split", {}), SplitParams), SplitParams)
        data = msgspec.convert(drop_unknown_keys(used.get("data"), DataParams), DataParams)
    except msgspec.ValidationError:
        return True
    names = ("target", "task", "time", "group")
    return split != base.split or any(getattr(data, name) != getattr(base.data, name) for name in names)


def drop_lost_columns(params: Params, columns: Sequence[str]) -> tuple[Params, list[str]]:
    """Return parameters whose slices and sensitive columns the data has, and the names of those that it lacks."""
    slices = [name for name in params.gate.slices if name in columns]
    sensitive = [name for name in params.data.sensitive if name in columns]
    lost = [name for name in (*params.gate.slices, *params.data.sensitive) if name not in columns]
    gate = msgspec.structs.replace(params.gate, slices=slices)
    data = msgspec.structs.replace(params.data, sensitive=sensitive)
    return msgspec.structs.replace(params, gate=gate, data=data), list(dict.fromkeys(lost))


def describe_lost_columns(lost: Sequence[str]) -> str:
    """Return the rest of a sentence on columns that the data lacks; empty where there are none."""
    return f"has no column {list_names(lost)}, whose values the base compares" if lost else ""


def fit_rules_to_target(rules: Params, branch: Params) -> Params:
    """Return the base's rules without what means nothing for another task: a metric, its margin, ceiling and floors."""
    gate: GateParams = rules.gate
    evaluate: EvaluateParams = rules.evaluate
    if not is_metric_of(evaluate.metric, branch.data.task):
        evaluate = branch.evaluate
        gate = msgspec.structs.replace(gate, margin=None, ceiling=None)
    floors = {name: value for name, value in gate.floors.items() if is_metric_of(name, branch.data.task)}
    evaluate = msgspec.structs.replace(evaluate, cost=branch.evaluate.cost)
    return msgspec.structs.replace(rules, evaluate=evaluate, gate=msgspec.structs.replace(gate, floors=floors))


def is_metric_of(name: str, task: str) -> bool:
    """Whether a metric is one of a task."""
    try:
        return get_metric(name).task == task
    except UnknownMetricError:
        return False


def describe_changes(rules: BaseRules, schema: Sequence[str]) -> list[str]:
    """Return the sentences that the report begins with: what a branch changes of what it is judged by.

    Parameters
    ----------
    rules
        The rules that judge the branch.
    schema
        The names of the branch's changes in schema.yaml.
    """
    notes = []
    if rules.obstacle:
        notes.append(f"This branch {rules.obstacle}: it was judged by those of the base's rules that fit it.")
    if rules.changed:
        names = ", ".join(f"`{name}`" for name in rules.changed)
        judge = "it was judged by the base's" if not rules.obstacle else "the base's hold where they fit"
        notes.append(f"This branch changes the rules ({names}); {judge}.")
    if schema:
        notes.append(f"This branch changes {SCHEMA_YAML}: {list_names(schema)}.")
    return notes + rules.notes


def run_base_gate(base: str) -> int | None:
    """Let the base's own library judge where this branch has another one.

    Returns
    -------
    int or None
        The exit code of the base's gate; None where the library here is the base's, or the base has none.
    """
    if os.environ.get(GATE_RULES_VARIABLE) or not has_library(base) or not is_library_changed(base):
        return None
    with checkout_commit(base) as project:
        # -P: without it Python would look for `modelyard` in the current folder first, which is the branch's.
        command = [sys.executable, "-P", "-m", "modelyard", "gate", "--base", base]
        env = {"PYTHONPATH": str(project / LIBRARY_FOLDER), "PYTHONSAFEPATH": "1", GATE_RULES_VARIABLE: base}
        return run_process(command, env=env, shown=True).returncode


def has_library(commit: str) -> bool:
    """Whether a commit carries the library."""
    try:
        run_git("rev-parse", "--verify", "--quiet", f"{commit}:./{LIBRARY_PACKAGE}")
    except ToolError:
        return False
    return True


def is_library_changed(base: str) -> bool:
    """Whether the library in the work tree differs from that of the base, new files included."""
    changed = run_git("diff", "--name-only", "--ignore-submodules=none", base, "--", str(LIBRARY_PACKAGE))
    new = run_git("ls-files", "--others", "--exclude-standard", "--", str(LIBRARY_PACKAGE))
    paths = [*changed.splitlines(), *(path for path in new.splitlines() if not IGNORED_PATHS.search(path))]
    return bool(paths)


def find_judge_notes(base: str) -> list[str]:
    """Return the sentences on what was judged and by whom, where that is not what a reader expects.

    That is code that nobody can review, since it is not committed, and the branch's own library, where the base has
    none; a first commit, which is compared with itself, may have that.
    """
    notes = []
    changed = run_git("diff", "--name-only", "HEAD", "--", "src").splitlines()
    changed += run_git("ls-files", "--others", "--exclude-standard", "--", "src").splitlines()
    if changed:
        notes.append(f"What was judged is not committed in {list_names(changed)}.")
    if not has_library(base) and find_commit(base) != find_commit("HEAD"):
        notes.append(f"The base has no {LIBRARY_PACKAGE}, so this branch was judged by its own library.")
    return notes


def list_names(names: Sequence[str]) -> str:
    """Return the first five names and the number of the others."""
    listed = ", ".join(f"`{name}`" for name in names[:MAX_NAMES])
    return f"{listed} and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else listed
