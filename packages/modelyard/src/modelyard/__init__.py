"""A project's pipeline, gate, service and monitoring; what `__all__` names is public, the rest may change.

Besides these names `modelyard.defaults` and `modelyard.testing` are public.
"""

import importlib
from typing import TYPE_CHECKING, Any

from modelyard.core.protocol import PROTOCOL

if TYPE_CHECKING:
    from modelyard.core.errors import IntegrityError, UserError
    from modelyard.core.hooks import DataSource
    from modelyard.core.params import Params, TrainParams
    from modelyard.core.project import Project
    from modelyard.statistics.metrics import Metric, mean_metric

__version__ = "0.2.0"
LAZY = {
    "DataSource": "core.hooks",
    "IntegrityError": "core.errors",
    "Metric": "statistics.metrics",
    "Params": "core.params",
    "Project": "core.project",
    "TrainParams": "core.params",
    "UserError": "core.errors",
    "mean_metric": "statistics.metrics",
}
__all__ = [
    "PROTOCOL",
    "DataSource",
    "IntegrityError",
    "Metric",
    "Params",
    "Project",
    "TrainParams",
    "UserError",
    "__version__",
    "mean_metric",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import modelyard` itself stays cheap."""
    if name not in LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"modelyard.{LAZY[name]}"), name)
