"""TODO doc."""

import os
import subprocess
import sys

import msgspec

from modelyard.core import git_objects
from modelyard.core.params import GATE_RULES_VARIABLE, Params, drop_unknown_keys
from modelyard.core.paths import DVC_LOCK, LIBRARY_FOLDER
from modelyard.core.process import run_git


def apply_base_rules(base: str, params: Params) -> tuple[Params, list[str]]:
    """Our parameters with the base's gate, metric and split, and the names of the blocks that differ."""
    old = git_objects.read_yaml_at(base, "params.yaml")
    if not old or old["data"]["target"] != params.data.target or not git_objects.read_yaml_at(base, DVC_LOCK):
        return params, []
    try:
        held = msgspec.convert(drop_unknown_keys(old, Params), Params)
    except msgspec.ValidationError:
        return params, []
    differing = [name for name in ("gate", "evaluate", "split") if getattr(held, name) != getattr(params, name)]
    rules = msgspec.structs.replace(params, gate=held.gate, evaluate=held.evaluate, split=held.split)
    return rules, differing


def run_base_gate(base: str) -> int | None:
    """Let the base's own gate judge where this branch changed the gate's code; None where it did not."""
    if os.environ.get(GATE_RULES_VARIABLE) or not run_git("diff", "--name-only", base, "--", str(LIBRARY_FOLDER)):
        return None
    with git_objects.checkout_commit(base) as project:
        if not (project / LIBRARY_FOLDER).exists():
            return None
        env = os.environ | {"PYTHONPATH": str(project / LIBRARY_FOLDER), GATE_RULES_VARIABLE: base}
        command = [sys.executable, "-m", "modelyard", "gate", "--base", base]
        return subprocess.run(command, env=env, check=False).returncode
