"""The project that a command works on: its name, its own package and where both stand."""

import importlib
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from modelyard.core.errors import UserError

PYPROJECT_TOML = Path("pyproject.toml")
_ROOT: ContextVar[Path] = ContextVar("root", default=Path())


@dataclass(frozen=True)
class Project:
    """A project folder and what its pyproject.toml says of it."""

    root: Path
    name: str
    package: str

    @classmethod
    def load(cls, root: Path | None = None) -> "Project":
        """Read the project in a folder; a `UserError` says which setting is missing."""
        root = root or _ROOT.get()
        path = root / PYPROJECT_TOML
        try:
            settings = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"there is no {PYPROJECT_TOML} here; run this in the project's folder") from None
        except tomllib.TOMLDecodeError as problem:
            raise UserError(f"{PYPROJECT_TOML} is not TOML ({problem}); correct that line") from None
        name = settings.get("project", {}).get("name")
        package = settings.get("tool", {}).get("modelyard", {}).get("package")
        if not name or not package:
            key = "tool.modelyard: package" if name else "project: name"
            raise UserError(f"{PYPROJECT_TOML} lacks [{key}]; write the name there")
        return cls(root.resolve(), name, package)

    @property
    def source(self) -> Path:
        """The folder of the project's own package."""
        return self.root / "src" / self.package

    @property
    def features(self) -> Callable[[Any], Any]:
        """The project's `features` function."""
        return load_module(self, "features").features  # type: ignore[no-any-return]


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


def load_module(project: Project, name: str) -> ModuleType:
    """Import a module of the project's own package from its folder."""
    source = str(project.root / "src")
    if source not in sys.path:
        sys.path.insert(0, source)
    full = f"{project.package}.{name}"
    found = sys.modules.get(full)
    if found and Path(str(found.__file__)).resolve() != (project.source / f"{name}.py"):
        for other in [key for key in sys.modules if key.partition(".")[0] == project.package]:
            del sys.modules[other]
        sys.path.remove(source)
        sys.path.insert(0, source)
        importlib.invalidate_caches()
    return importlib.import_module(full)
