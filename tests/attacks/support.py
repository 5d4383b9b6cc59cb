"""What the attacks share: a branch that changes files, and the verdict on it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.template.support import BakedProject, edit

# A module that tells that it was imported, and by which program.
CANARY = """\
import contextlib
import sys
from pathlib import Path

__version__ = "999"
with contextlib.suppress(OSError):  # where the model predicts, nothing can be written
    Path({!r}).open("a").write(f"{{__name__}} {{sys.argv}}\\n")
"""


@dataclass(frozen=True)
class Attack:
    """A branch of a rendered project whose main has a model."""

    project: BakedProject
    environment: Path

    @property
    def canary(self) -> Path:
        """The file that a module of the attacker writes when it is imported."""
        return self.project.path.with_name("canary")

    def edit(self, name: str, pattern: str, text: str) -> None:
        """Replace what a pattern finds in a file."""
        edit(self.project, name, pattern, text)

    def write(self, name: str, text: str) -> None:
        """Write a file of the branch."""
        (self.project.path / name).write_text(text, encoding="utf-8")

    def plant(self, *names: str, keep: bool = False) -> None:
        """Write modules that leave a trace when they are imported; `keep` adds that to what they have."""
        for name in names:
            before = self.project.read(name) if keep else ""
            self.write(name, f"{before}\n{CANARY.format(str(self.canary))}")

    def append(self, name: str, text: str) -> None:
        """Add lines to a file of the branch."""
        self.write(name, self.project.read(name) + text)

    def weaken(self) -> None:
        """Let the branch's model learn next to nothing: it is worse beyond doubt."""
        self.edit("params.yaml", r"max_iter: \d+", "max_iter: 3")

    def run_pipeline(self) -> None:
        """Train the branch's model, and commit."""
        self.project.make("pipeline", VENV=str(self.environment), TRACK="0")
        self.project.commit("An attack")

    def run_gate(self, code: int) -> str:
        """Judge the branch against main as a pull request does, and return what was printed."""
        script = f"make --no-print-directory gate BASE=main VENV={self.environment}; echo code $?"
        said = self.project.run("bash", "-c", script)
        found = re.search(r"Error (\d)\n", said)
        if int(found[1] if found else 0) != code:
            pytest.fail(said)
        return said

    def judge(self, code: int) -> dict[str, Any]:
        """Return the verdict on the branch; the exit code of `make gate` is 0 for a pass and 1 for a block."""
        self.run_gate(code)
        return dict(json.loads(self.project.read("reports/verdict.json")))
