"""The isolation of the judge: a branch is judged by the base's library and the base's rules, not by its own."""

import os
import sys
from dataclasses import dataclass

import msgspec

from modelyard.core.dvc_lock import IGNORED_PATHS
from modelyard.core.errors import ToolError
from modelyard.core.git_objects import checkout_commit, find_commit, read_yaml_at
from modelyard.core.params import Params, drop_unknown_keys
from modelyard.core.paths import DVC_LOCK, LIBRARY_FOLDER, PARAMS_YAML
from modelyard.core.process import run_git, run_process
from modelyard.core.protocol import GATE_RULES_VARIABLE

LIBRARY_PACKAGE = LIBRARY_FOLDER.parent
RULE_SECTIONS = ("gate", "evaluate", "split")


@dataclass(frozen=True)
class BaseRules:
    """The parameters that judge a branch.

    Parameters
    ----------
    params
        The branch's parameters with the base's rules.
    changed
        The names of the rule sections that the branch changes.
    notes
        Sentences for the report.
    """

    params: Params
    changed: list[str]
    notes: list[str]


def apply_base_rules(base: str, params: Params) -> BaseRules:
    """Replace the sections `gate`, `evaluate` and `split` of a branch's parameters with those of the base.

    The branch's own rules hold where the base has no pipeline yet or another target.
    """
    found = read_yaml_at(base, PARAMS_YAML)
    if not found or found["data"]["target"] != params.data.target or not read_yaml_at(base, DVC_LOCK):
        return BaseRules(params, [], [])
    try:
        base_params = msgspec.convert(drop_unknown_keys(found, Params), Params)
    except msgspec.ValidationError as problem:
        note = f"The base's {PARAMS_YAML} is not valid ({problem}), so this branch was judged by its own rules."
        return BaseRules(params, [], [note])
    rules = {name: getattr(base_params, name) for name in RULE_SECTIONS}
    changed = [name for name in RULE_SECTIONS if rules[name] != getattr(params, name)]
    return BaseRules(msgspec.structs.replace(params, **rules), changed, [])


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
        env = {"PYTHONPATH": str(project / LIBRARY_FOLDER), GATE_RULES_VARIABLE: base}
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
    """Return a sentence for the report where the branch's own library had to judge, since the base has none.

    A first commit, which is compared with itself, needs none.
    """
    if has_library(base) or find_commit(base) == find_commit("HEAD"):
        return []
    return [f"The base has no {LIBRARY_PACKAGE}, so this branch was judged by its own library."]
