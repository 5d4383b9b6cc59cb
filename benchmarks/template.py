"""The template's own modules, imported from where they stand: nothing is rendered or installed."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

TEMPLATE = Path(__file__).parents[1] / "{{cookiecutter.project_slug}}"
PACKAGE = TEMPLATE / "src" / "{{cookiecutter.__package}}"
NAME = "template_package"


def load(module: str) -> ModuleType:
    """A module of the template's package, under a made-up package name."""
    if NAME not in sys.modules:
        package = ModuleType(NAME)
        package.__path__ = [str(PACKAGE)]
        sys.modules[NAME] = package
    return importlib.import_module(f"{NAME}.{module}")


def settle(folder: Path) -> Path:
    """A folder with the template's parameters and schema, without tags."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("params.yaml", "schema.yaml"):
        text = (TEMPLATE / name).read_text(encoding="utf-8")
        (folder / name).write_text(re.sub(r"(?m)^{%.*%}\n", "", text), encoding="utf-8")
    return folder
