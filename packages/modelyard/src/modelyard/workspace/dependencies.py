"""Add a package to the project's own dependencies, pinned like the rest."""

import re
from pathlib import Path

from modelyard.core.console import print_result
from modelyard.core.errors import SettingError, UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.process import last_error_line, run_process

PYPROJECT = Path("pyproject.toml")
REQUIREMENTS = Path("requirements")
SERVE_REQUIREMENTS = REQUIREMENTS / "serve.txt"
DEV_GROUP = re.compile(r"(?m)^dev = \[\s*")


class PluginError(UserError):
    """A plugin could not be installed; the project is as it was.

    Parameters
    ----------
    plugin
        The requirement.
    reason
        The last line that the installer printed.
    """

    def __init__(self, plugin: str, reason: str) -> None:
        super().__init__(f"{plugin} could not be installed ({reason}); the project is as it was")
        self.plugin = plugin


def install_plugin(plugin: str) -> None:
    """Let the project depend on a plugin, pin it and install it; other versions stay.

    Parameters
    ----------
    plugin
        A requirement such as `dvc-s3>=3`; empty does nothing.

    Raises
    ------
    PluginError
        If it cannot be installed; the project's files are as they were then.
    SettingError
        If pyproject.toml has no list `dev` that the plugin could be added to.
    """
    before = PYPROJECT.read_text(encoding="utf-8")
    if not plugin or f'"{plugin}"' in before:
        return
    after = add_requirement(before, plugin)
    pins = SERVE_REQUIREMENTS.read_bytes()
    with restore_files_on_error(PYPROJECT, *REQUIREMENTS.glob("*.txt")):
        PYPROJECT.write_text(after, encoding="utf-8")
        run_make(plugin, "lock", "UPGRADE=")
        run_make(plugin, "install")  # apart from the lock, since make reads the pins once, when it starts
    if SERVE_REQUIREMENTS.read_bytes() != pins:
        print_result("remote", f"{plugin} changed versions that the model uses: `make pipeline push` learns with them")


def add_requirement(pyproject: str, plugin: str) -> str:
    """Return the text of a pyproject.toml with a requirement in its dependency group `dev`.

    Raises
    ------
    SettingError
        If it has no such list.
    """
    changed, count = DEV_GROUP.subn(rf'\g<0>"{plugin}", ', pyproject, count=1)
    if not count:
        setting = f"{PYPROJECT}: dependency-groups.dev"
        raise SettingError(
            setting, "is not a list that begins with `dev = [`", f'add "{plugin}" to it and run `make lock`'
        )
    return changed


def run_make(plugin: str, *verb: str) -> None:
    """Run a verb of the project for a plugin that is being installed."""
    done = run_process(["make", "--no-print-directory", *verb])
    if done.returncode:
        raise PluginError(plugin, last_error_line(done.stderr))
