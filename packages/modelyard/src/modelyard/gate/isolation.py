"""TODO doc."""

import os
import subprocess
import sys

import msgspec

from modelyard.core import git_objects
from modelyard.core.params import JUDGED_BY, Params, known
from modelyard.core.paths import LIBRARY, LOCK
from modelyard.core.process import git


def base_rules(base: str, params: Params) -> tuple[Params, list[str]]:
    """Our parameters with the base's gate, metric and split, and the names of the blocks that differ."""
    old = git_objects.at(base, "params.yaml")
    if not old or old["data"]["target"] != params.data.target or not git_objects.at(base, LOCK):
        return params, []
    try:
        held = msgspec.convert(known(old, Params), Params)
    except msgspec.ValidationError:
        return params, []
    differing = [name for name in ("gate", "evaluate", "split") if getattr(held, name) != getattr(params, name)]
    rules = msgspec.structs.replace(params, gate=held.gate, evaluate=held.evaluate, split=held.split)
    return rules, differing


def base_judges(base: str) -> int | None:
    """Let the base's own gate judge where this branch changed the gate's code; None where it did not."""
    if os.environ.get(JUDGED_BY) or not git("diff", "--name-only", base, "--", str(LIBRARY)):
        return None
    with git_objects.checkout(base) as project:
        if not (project / LIBRARY).exists():
            return None
        env = os.environ | {"PYTHONPATH": str(project / LIBRARY), JUDGED_BY: base}
        command = [sys.executable, "-m", "modelyard", "gate", "--base", base]
        return subprocess.run(command, env=env, check=False).returncode
