"""TODO doc."""

import re
import subprocess
from pathlib import Path

from modelyard.core.errors import UserError
from modelyard.core.files import kept_on_error
from modelyard.core.process import last_words

PROJECT = Path("pyproject.toml")
SERVE = Path("requirements/serve.txt")


def plug_in(plugin: str) -> None:
    """Let the project depend on a plugin of DVC's, pinned like the rest, and install it; other versions stay."""
    if not plugin or f'"{plugin}"' in (old := PROJECT.read_text(encoding="utf-8")):
        return
    text = re.sub(r"(?m)^(dev = \[\n)", rf'\1    "{plugin}",\n', old)
    before = SERVE.read_bytes()
    with kept_on_error(PROJECT, *Path("requirements").glob("*.txt")):
        PROJECT.write_text(text, encoding="utf-8")
        for verb in (["lock", "UPGRADE="], ["install"]):  # make reads the pins once, when it starts
            command = ["make", "--no-print-directory", *verb]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                why = last_words(done.stderr)
                raise UserError(f"{plugin} could not be installed ({why}); the project is as it was")
    if SERVE.read_bytes() != before:
        print(f"{'remote':<10}{plugin} changed versions that the model uses: `make pipeline push` learns with them")
