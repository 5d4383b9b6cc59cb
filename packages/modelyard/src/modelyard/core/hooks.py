"""The functions of a project's own package that the library calls, and the contract that each of them keeps.

A hook is found by its name in one file of `src/<package>/`. Only `features` is required: a hook, or a whole file, that
is not there stands for the library's default (`modelyard.defaults`).

| file | name | what it is |
|---|---|---|
| `data.py` | `load` | `LoadHook`: where raw rows come from |
| `features.py` | `features` | `FeaturesHook`: from raw columns to features |
| `model.py` | `make_estimator` | `EstimatorHook`: what is fitted |
| `model.py` | `make_preprocessor` | `PreprocessorHook`: how features enter the estimator |
| `model.py` | `TRUSTED_TYPES` | names of types that a model file may hold besides those that the library trusts |
| `metrics.py` | `METRICS` | metrics of your own (`modelyard.Metric`) |
"""

from __future__ import annotations

import ast
import difflib
import importlib.machinery
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from modelyard.core.errors import HookError, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.compose import ColumnTransformer

    from modelyard.core.params import TrainParams

SAMPLE_ROWS = 64
NAME_SIMILARITY = 0.7
FILE_SIMILARITY = 0.8


@dataclass(frozen=True)
class DataSource:
    """Where `load` finds the raw rows.

    Parameters
    ----------
    path
        The file or folder that `data.path` in params.yaml names. DVC and the library watch its bytes, so it can also be
        a small file that describes a query.
    block_rows
        The most rows that one block should have, so that a table larger than memory passes through.
    """

    path: Path
    block_rows: int = 1 << 16


class LoadHook(Protocol):
    """Yield the raw rows, block by block."""

    def __call__(self, source: DataSource, /) -> Iterator[pd.DataFrame]:
        """Yield the raw rows of the project.

        The library streams them once into a Parquet table under data/ and reads that table from then on, until the
        bytes at `source.path` or the code in `src/` change.

        Parameters
        ----------
        source
            Where the rows are, and how many of them a block should have.

        Yields
        ------
        pandas.DataFrame
            Raw rows, with the columns and types of schema.yaml. All blocks have the same columns in the same order.

        Raises
        ------
        modelyard.UserError
            Where the source cannot be read: one sentence that says what to do.
        """


class FeaturesHook(Protocol):
    """Compute the features of raw rows."""

    def __call__(self, raw: pd.DataFrame, /) -> pd.DataFrame:
        """Return the features of raw rows, in training and for each request alike.

        The function is pure: it leaves `raw` as it is, and the features of a row depend on that row alone.

        Parameters
        ----------
        raw
            The columns of `data.features` in params.yaml, at least one row, in any order and with any index.

        Returns
        -------
        pandas.DataFrame
            One row for each row of `raw`, in the same order and with the same index; the same columns every time.
            Columns that are not numbers are taken as categories.
        """


class EstimatorHook(Protocol):
    """Make the estimator that is fitted."""

    def __call__(self, train: TrainParams, /, *, seed: int, task: str) -> BaseEstimator:
        """Return an estimator that has not been fitted yet.

        Parameters
        ----------
        train
            The block `train` of params.yaml: the estimator's name and its arguments.
        seed
            Where every random draw of the estimator starts.
        task
            `classification` or `regression`.

        Returns
        -------
        sklearn.base.BaseEstimator
            A classifier with `predict_proba`, or a regressor.
        """


class PreprocessorHook(Protocol):
    """Make the step before the estimator."""

    def __call__(self, train: TrainParams, table: pd.DataFrame, /) -> ColumnTransformer:
        """Return a transformer that turns features into the numbers that the estimator is fitted on.

        Parameters
        ----------
        train
            The block `train` of params.yaml.
        table
            The features of the training rows: numbers, and text with None for missing values.

        Returns
        -------
        sklearn.compose.ColumnTransformer
            A transformer that has not been fitted yet; it also accepts categories that training never saw.
        """


@dataclass(frozen=True)
class Hook:
    """The place of a hook, and how the library calls it.

    Parameters
    ----------
    module
        The file in the project's package, without `.py`.
    name
        The name in that file.
    call
        The call as it is written in an error message; none for a value.
    positional
        The number of positional arguments.
    keywords
        The names of the keyword arguments.
    """

    module: str
    name: str
    call: str = ""
    positional: int = 0
    keywords: tuple[str, ...] = ()
    required: bool = False

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.module}.py"


LOAD = Hook("data", "load", "load(source)", 1)
FEATURES = Hook("features", "features", "features(raw)", 1, required=True)
ESTIMATOR = Hook("model", "make_estimator", "make_estimator(train, *, seed, task)", 1, ("seed", "task"))
PREPROCESSOR = Hook("model", "make_preprocessor", "make_preprocessor(train, table)", 2)
TRUSTED_TYPES = Hook("model", "TRUSTED_TYPES")
METRICS = Hook("metrics", "METRICS")
HOOKS = (LOAD, FEATURES, ESTIMATOR, PREPROCESSOR, TRUSTED_TYPES, METRICS)
HOOK_NAMES = frozenset(hook.name for hook in HOOKS)
HOOK_MODULES = frozenset(hook.module for hook in HOOKS)


class ProjectHooks:
    """The hooks of a project, each imported when it is first used; one that is not there is None.

    Parameters
    ----------
    root
        The project's folder.
    package
        The name of the project's own package in `src/`.

    Raises
    ------
    HookError
        When a hook is used that breaks its contract: the file, the function and what was expected.
    """

    def __init__(self, root: Path, package: str) -> None:
        self.root = root
        self.package = package
        self.folder = root / "src" / package
        if not self.folder.is_dir():
            problem = f"names the package {package}, but there is no folder src/{package}"
            raise SettingError(
                "pyproject.toml: tool.modelyard.package", problem, "write the name of the folder in src/"
            )

    @cached_property
    def load(self) -> LoadHook | None:
        """The function that yields raw rows."""
        return self._find_function(LOAD)

    @cached_property
    def features(self) -> FeaturesHook:
        """The function that computes features, as it is: for a call for each request."""
        function: FeaturesHook = self._find_function(FEATURES)
        return function

    @cached_property
    def make_estimator(self) -> EstimatorHook | None:
        """The function that makes the estimator."""
        return self._find_function(ESTIMATOR)

    @cached_property
    def make_preprocessor(self) -> PreprocessorHook | None:
        """The function that makes the step before the estimator."""
        return self._find_function(PREPROCESSOR)

    @cached_property
    def trusted_types(self) -> frozenset[str]:
        """The names of types that a model file may hold besides the library's own list."""
        found = self._find(TRUSTED_TYPES)
        if found is None:
            return frozenset()
        is_collection = isinstance(found, frozenset | set | list | tuple)
        if not is_collection or not all(isinstance(name, str) for name in found):
            raise self.error(TRUSTED_TYPES, "is not a set of names; write frozenset({'package.module.Class'})")
        return frozenset(found)

    @cached_property
    def metrics(self) -> tuple[Any, ...]:
        """The project's own metrics; `modelyard.statistics.metrics` checks what they are."""
        found = self._find(METRICS)
        if found is None:
            return ()
        if not isinstance(found, list | tuple):
            raise self.error(METRICS, f"is a {type(found).__name__}; write a list of metrics")
        return tuple(found)

    def compute_features(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Return the features of raw rows, and raise a `HookError` where they are not one row for each row."""
        table = self.features(raw)
        problem = _find_table_problem(table, raw)
        if problem:
            raise self.error(FEATURES, f"{problem}; it must return a DataFrame with one row for each row of raw")
        return table

    def compute_pure_features(self, raw: pd.DataFrame) -> pd.DataFrame:
        """Return the features of raw rows after a trial that `features` is pure, on a sample of the rows.

        Parameters
        ----------
        raw
            Raw rows.

        Raises
        ------
        HookError
            Where a row's features depend on other rows, where `features` changes its input, or where the result is not
            one row for each row.
        """
        import numpy as np
        from pandas.testing import assert_frame_equal

        places = np.unique(np.linspace(0, len(raw) - 1, SAMPLE_ROWS).astype(int))
        sample = raw.iloc[places].copy()
        before = sample.copy()
        alone = self.compute_features(sample)
        if not sample.equals(before):
            raise self.error(FEATURES, "changes the table that it is given; work on a copy: raw.copy()")
        table = self.compute_features(raw)
        if list(alone) != list(table):
            raise self.error(FEATURES, "returns other columns for other rows; return the same columns every time")
        for name in table:
            try:
                assert_frame_equal(
                    alone[[name]],
                    table[[name]].iloc[places],
                    check_dtype=False,
                    check_freq=False,
                    check_categorical=False,  # a sample has fewer categories; its values are compared
                )
            except AssertionError:
                problem = f"gives a row another {name} when other rows are missing; compute it from that row alone"
                raise self.error(FEATURES, problem) from None
        return table

    def call_load(self, source: DataSource) -> Any:
        """Return the blocks of the project's `load`, or None where the project has none."""
        if self.load is None:
            return None
        blocks = self.load(source)
        if not hasattr(blocks, "__iter__") or hasattr(blocks, "columns"):
            problem = (
                f"returns a {type(blocks).__name__}; it must yield tables: `yield table` instead of `return table`"
            )
            raise self.error(LOAD, problem)
        return blocks

    def error(self, hook: Hook, problem: str) -> HookError:
        """Return the error of a hook that breaks its contract."""
        return HookError(f"src/{self.package}/{hook.file}", hook.name, problem)

    def _find_function(self, hook: Hook) -> Any:
        """Return the function of a hook after a look at its signature; None where it is not there."""
        found = self._find(hook)
        if found is None:
            return None
        if not callable(found):
            raise self.error(hook, f"is no function; write def {hook.call}")
        try:
            signature = inspect.signature(found)
        except ValueError:  # a function written in C has none
            return found
        try:
            signature.bind(*[None] * hook.positional, **dict.fromkeys(hook.keywords))
        except TypeError:
            problem = f"is written {hook.name}{_show_arguments(signature)}, but is called as {hook.call}; correct it"
            raise self.error(hook, problem) from None
        return found

    def _find(self, hook: Hook) -> Any:
        """Return what a hook's file has under its name; None where an optional one is not there."""
        module = self._import(hook)
        if module is None:
            return None
        if hasattr(module, hook.name):
            return getattr(module, hook.name)
        names = [name for name in _list_own_names(module) if name not in HOOK_NAMES]
        similar = difflib.get_close_matches(hook.name, names, 1, NAME_SIMILARITY)
        if similar:
            cure = f"rename it, or write _{similar[0]} if it is another thing"
            raise self.error(hook, f"is missing, but there is {similar[0]}; {cure}")
        if hook.required:
            raise self.error(hook, f"is missing; write def {hook.call}")
        return None

    def _import(self, hook: Hook) -> ModuleType | None:
        """Import a hook's file; None where an optional one is not there."""
        path = self.folder / hook.file
        if path.is_file():
            try:
                return import_from_folder(self.root / "src", self.package, hook.module)
            except Exception as problem:  # whatever the user's code raises while it is imported
                text = " ".join(str(problem).split())
                reason = f"cannot be imported: {type(problem).__name__}: {text}"
                raise self.error(hook, f"{reason}; correct {hook.file}") from problem
        similar = self._find_similar_file(hook)
        if similar:
            raise self.error(hook, f"is missing, but there is {similar}; rename that file to {hook.file}")
        if hook.required:
            raise self.error(hook, f"is missing; write the file with def {hook.call}")
        return None

    def _find_similar_file(self, hook: Hook) -> str:
        """Return a file whose name is nearly that of a hook's file, and which has the hook."""
        names = [path.stem for path in self.folder.glob("*.py") if path.stem not in HOOK_MODULES]
        for name in difflib.get_close_matches(hook.module, names, 3, FILE_SIMILARITY):
            if hook.name in _list_top_level_names(self.folder / f"{name}.py"):
                return f"{name}.py"
        return ""


def import_from_folder(source: Path, package: str, name: str) -> ModuleType:
    """Import a module of a package from a folder, also where the same package of another folder was imported before.

    The package is found by its place. Its folder comes last on `sys.path`, where the workers of joblib and a package's
    own imports find it: a file there that is named like an installed module never stands in for that module.
    """
    folder = (source / package).resolve()
    known = sys.modules.get(package)
    if known is not None and folder not in [Path(path).resolve() for path in getattr(known, "__path__", ())]:
        for other in [key for key in sys.modules if key.partition(".")[0] == package]:
            del sys.modules[other]
    if package not in sys.modules:
        others = [path for path in sys.path if Path(path).name != source.name or not Path(path, package).is_dir()]
        sys.path[:] = [*others, str(folder.parent)]
        importlib.invalidate_caches()
        _import_package(folder)
    return importlib.import_module(f"{package}.{name}")


def _import_package(folder: Path) -> None:
    """Import the package in a folder, whether it has an `__init__.py` or not."""
    place = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(folder.name, place, submodule_search_locations=[str(folder)])
    if spec is None or not place.is_file():
        spec = importlib.machinery.ModuleSpec(folder.name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
    module = importlib.util.module_from_spec(spec)
    sys.modules[folder.name] = module
    try:
        if spec.loader:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[folder.name]
        raise


def _find_table_problem(table: Any, raw: pd.DataFrame) -> str:
    """Return what is wrong with the shape of a table of features; nothing where it fits the raw rows."""
    if type(table) is not type(raw) and not hasattr(table, "columns"):
        return f"returns a {type(table).__name__}"
    if len(table) != len(raw):
        return f"returns {len(table)} rows for {len(raw)}"
    if not table.index.equals(raw.index):
        return "returns another index than raw has"
    return ""


def _show_arguments(signature: inspect.Signature) -> str:
    """Return the arguments of a signature without types."""
    plain = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=inspect.Signature.empty))


def _list_own_names(module: ModuleType) -> list[str]:
    """Return the public names that a module defines itself."""
    found = []
    for name, value in vars(module).items():
        is_own = getattr(value, "__module__", module.__name__) == module.__name__
        if is_own and not name.startswith("_") and not isinstance(value, ModuleType):
            found.append(name)
    return found


def _list_top_level_names(path: Path) -> set[str]:
    """Return the functions and variables of a Python file, without importing it."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (SyntaxError, UnicodeDecodeError):
        return set()
    names = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
