"""Import a module when it is first used.

pandas takes 40 MB and half of the service's start, and a compiled model that answers on the light table never uses
it. `serve.lazy_pandas: false` in params.yaml switches this off: pandas is then imported at the start.
"""

import importlib
import sys
import types
from typing import Any


class LazyModule(types.ModuleType):
    """A stand-in in `sys.modules` that imports the real module when an attribute of it is first read."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


def import_lazily(name: str) -> None:
    """Let `import <name>` give a stand-in from now on, unless the module is imported already."""
    sys.modules.setdefault(name, LazyModule(name))
