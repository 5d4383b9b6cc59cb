"""TODO doc."""

import re
import subprocess
from pathlib import Path

from modelyard.core.console import print_result
from modelyard.core.errors import UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.process import last_error_line

PYPROJECT = Path("pyproject.toml")
SERVE_REQUIREMENTS = Path("requirements/serve.txt")


def install_plugin(plugin: str) -> None:
    """Let the project depend on a plugin of DVC's, pinned like the rest, and install it; other versions stay."""
    if not plugin or f'"{plugin}"' in (old := PYPROJECT.read_text(encoding="utf-8")):
        return
    text = re.sub(r"(?m)^(dev = \[\n)", rf'\1    "{plugin}",\n', old)
    before = SERVE_REQUIREMENTS.read_bytes()
    with restore_files_on_error(PYPROJECT, *Path("requirements").glob("*.txt")):
        PYPROJECT.write_text(text, encoding="utf-8")
        for verb in (["lock", "UPGRADE="], ["install"]):  # make reads the pins once, when it starts
            command = ["make", "--no-print-directory", *verb]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                why = last_error_line(done.stderr)
                raise UserError(f"{plugin} could not be installed ({why}); the project is as it was")
    if SERVE_REQUIREMENTS.read_bytes() != before:
        print_result("remote", f"{plugin} changed versions that the model uses: `make pipeline push` learns with them")
