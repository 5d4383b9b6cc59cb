"""A project's pipeline, gate, service and monitoring; what `__all__` names is public, the rest may change."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelyard.core.errors import IntegrityError, UserError
    from modelyard.core.params import Params
    from modelyard.core.project import Project

__version__ = "0.2.0"
PROTOCOL = 1  # the form of `predict`, `train` and `smoke`, by which one version asks another
LAZY = {
    "IntegrityError": "core.errors",
    "Params": "core.params",
    "Project": "core.project",
    "UserError": "core.errors",
}
__all__ = ["PROTOCOL", "IntegrityError", "Params", "Project", "UserError", "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import modelyard` itself stays cheap."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"modelyard.{LAZY[name]}"), name)
