"""The project that a command works on: its name, its folder, its parameters and its hooks."""

from __future__ import annotations

import os
import tomllib
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.core.errors import InvalidFileError, MissingFileError, SettingError
from modelyard.core.hooks import FeaturesHook, ProjectHooks
from modelyard.core.protocol import GATE_RULES_VARIABLE, PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelyard.core.params import Params

PYPROJECT_TOML = Path("pyproject.toml")
_ROOT: ContextVar[Path] = ContextVar("root", default=Path())
LIBRARY_CURE = "run `git checkout -- packages`, or `make update`"


@dataclass(frozen=True)
class Project:
    """A project: every command has one, and no two projects share a name on a server.

    Parameters
    ----------
    root
        The project's folder.
    name
        The name in pyproject.toml: of the MLflow experiment, the registered model, images and containers.
    package
        The project's own package in `src/`, from `[tool.modelyard]` in pyproject.toml.
    """

    root: Path
    name: str
    package: str

    @classmethod
    def load(cls, root: Path | None = None) -> Project:
        """Read the project in a folder.

        Raises
        ------
        MissingFileError, InvalidFileError
            Without a pyproject.toml that can be read.
        SettingError
            Where that file lacks a name, or is written for a newer version of the library.
        """
        root = root or _ROOT.get()
        settings = _read_pyproject(root / PYPROJECT_TOML)
        name = _read_setting(settings, "project", "name")
        package = _read_setting(settings, "tool.modelyard", "package")
        _check_protocol(settings["tool"]["modelyard"].get("protocol", 1))
        return cls(root.resolve(), name, package)

    @property
    def source(self) -> Path:
        """The folder of the project's own package."""
        return self.root / "src" / self.package

    @cached_property
    def params(self) -> Params:
        """The checked parameters of params.yaml."""
        from modelyard.core.params import load_params
        from modelyard.core.paths import PARAMS_YAML

        return load_params(self.root / PARAMS_YAML)

    @cached_property
    def hooks(self) -> ProjectHooks:
        """The functions of the project's own package that the library calls."""
        return ProjectHooks(self.root, self.package)

    @property
    def features(self) -> FeaturesHook:
        """The project's `features` function, without checks of what it returns."""
        return self.hooks.features


@contextmanager
def use_project_in(root: Path) -> Iterator[None]:
    """Let `Project.load` read the project in a folder, in this thread, while the block runs.

    A logged model carries its project along and is used where the current folder is another one.
    """
    token = _ROOT.set(root)
    try:
        yield
    finally:
        _ROOT.reset(token)


def _read_pyproject(path: Path) -> dict[str, Any]:
    """Return the settings in a pyproject.toml."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(PYPROJECT_TOML, "run this in the project's folder") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InvalidFileError(PYPROJECT_TOML, f"is not TOML ({problem})", "correct that line") from None


def _read_setting(settings: dict[str, Any], table: str, key: str) -> str:
    """Return a text in a table of a pyproject.toml, or raise a `SettingError` where it is missing or no text."""
    values: Any = settings
    for part in table.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    value = values.get(key) if isinstance(values, dict) else None
    if not value:
        raise SettingError(str(PYPROJECT_TOML), f"lacks [{table}: {key}]", "write the name there")
    if not isinstance(value, str):
        raise SettingError(f"{PYPROJECT_TOML}: {table}.{key}", f"is {value!r}", "write the name, in quotes")
    return value


def _check_protocol(wanted: Any) -> None:
    """Raise a `SettingError` where a project is written for a newer version of the library."""
    setting = f"{PYPROJECT_TOML}: tool.modelyard.protocol"
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        raise SettingError(setting, f"is {wanted!r}", "write the number that the template wrote there")
    if wanted > PROTOCOL and not os.environ.get(GATE_RULES_VARIABLE):  # an older library may judge a newer branch
        problem = f"is {wanted}, but the library in packages/modelyard is older and knows {PROTOCOL}"
        raise SettingError(setting, problem, LIBRARY_CURE)
