import sys
from pathlib import Path

import pandas as pd
import pytest

from modelyard.core.errors import HookError, SettingError
from modelyard.core.hooks import DataSource, ProjectHooks
from modelyard.core.project import Project

RAW = pd.DataFrame({"x": range(200), "y": 1.5})
PURE = "def features(raw):\n    return raw.copy()\n"


def write_hooks(folder: Path, **files: str) -> ProjectHooks:
    """Write files of the project's package, and return its hooks."""
    for name, text in files.items():
        (folder / f"src/flight_delays/{name}.py").write_text(text)
    return Project.load(folder).hooks


def catch_problem(hooks: ProjectHooks, name: str) -> HookError:
    """Return the error of a hook that breaks its contract."""
    with pytest.raises(HookError) as caught:
        getattr(hooks, name)
    return caught.value


def test_missing_optional_hooks_are_none(small_project: Path) -> None:
    for name in ("data", "model", "metrics"):
        (small_project / f"src/flight_delays/{name}.py").unlink(missing_ok=True)
    hooks = Project.load().hooks
    assert (hooks.load, hooks.make_estimator, hooks.make_preprocessor) == (None, None, None)
    assert (hooks.trusted_types, hooks.metrics) == (frozenset(), ())


def test_hooks_missing_in_their_files_are_none(small_project: Path) -> None:
    hooks = write_hooks(small_project, data="", model="", metrics="")
    assert (hooks.load, hooks.make_estimator, hooks.make_preprocessor) == (None, None, None)
    assert (hooks.trusted_types, hooks.metrics) == (frozenset(), ())


def test_missing_features_is_one_sentence(small_project: Path) -> None:
    problem = catch_problem(write_hooks(small_project, features=""), "features")
    assert (problem.file, problem.hook) == ("src/flight_delays/features.py", "features")
    assert "def features(raw)" in str(problem)


def test_missing_features_file_is_one_sentence(small_project: Path) -> None:
    (small_project / "src/flight_delays/features.py").unlink()
    assert "write the file" in str(catch_problem(Project.load().hooks, "features"))


@pytest.mark.parametrize(
    ("module", "text", "hook", "typo"),
    [
        ("features", "def feature(raw):\n    return raw\n", "features", "feature"),
        ("data", "def laod(source):\n    yield None\n", "load", "laod"),
        ("model", "def make_estimater(train, *, seed, task):\n    pass\n", "make_estimator", "make_estimater"),
        ("model", "def make_preproccesor(train, table):\n    pass\n", "make_preprocessor", "make_preproccesor"),
        ("model", "TRUSTED_TYPE = {'a.B'}\n", "trusted_types", "TRUSTED_TYPE"),
        ("metrics", "METRIC = []\n", "metrics", "METRIC"),
    ],
)
def test_a_typo_in_a_name_is_one_sentence(small_project: Path, module: str, text: str, hook: str, typo: str) -> None:
    problem = catch_problem(write_hooks(small_project, **{module: text}), hook)
    assert f"there is {typo};" in str(problem)


def test_a_helper_with_an_underscore_is_no_typo(small_project: Path) -> None:
    assert write_hooks(small_project, data="def _loads(source):\n    pass\n").load is None


def test_an_imported_name_is_no_typo(small_project: Path) -> None:
    assert write_hooks(small_project, data="from json import loads\n").load is None


def test_a_typo_in_a_file_name_is_one_sentence(small_project: Path) -> None:
    (small_project / "src/flight_delays/metrics.py").unlink(missing_ok=True)
    problem = catch_problem(write_hooks(small_project, metric="METRICS = []\n"), "metrics")
    assert "there is metric.py" in str(problem)


def test_a_similar_file_without_the_hook_is_no_typo(small_project: Path) -> None:
    (small_project / "src/flight_delays/metrics.py").unlink(missing_ok=True)
    assert write_hooks(small_project, metric="HELPERS = []\n").metrics == ()


@pytest.mark.parametrize(
    ("module", "text", "hook", "shown"),
    [
        ("features", "def features(raw, other):\n    return raw\n", "features", "features(raw, other)"),
        ("features", "def features():\n    return None\n", "features", "features()"),
        ("data", "def load():\n    yield None\n", "load", "load()"),
        ("model", "def make_estimator(train):\n    pass\n", "make_estimator", "make_estimator(train)"),
        ("model", "def make_preprocessor(train):\n    pass\n", "make_preprocessor", "make_preprocessor(train)"),
    ],
)
def test_a_wrong_signature_is_one_sentence(small_project: Path, module: str, text: str, hook: str, shown: str) -> None:
    problem = str(catch_problem(write_hooks(small_project, **{module: text}), hook))
    assert shown in problem
    assert "is called as" in problem


def test_more_arguments_with_defaults_are_fine(small_project: Path) -> None:
    hooks = write_hooks(small_project, features="def features(raw, scale=1):\n    return raw * scale\n")
    assert hooks.features(RAW).equals(RAW)


def test_a_hook_that_is_no_function_is_one_sentence(small_project: Path) -> None:
    assert "is no function" in str(catch_problem(write_hooks(small_project, features="features = 1\n"), "features"))


def test_a_file_that_cannot_be_imported_is_one_sentence(small_project: Path) -> None:
    problem = catch_problem(write_hooks(small_project, model="import nothing_of_that_name\n"), "make_estimator")
    assert "ModuleNotFoundError" in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize("text", ["TRUSTED_TYPES = 'a.B'\n", "TRUSTED_TYPES = [1]\n", "TRUSTED_TYPES = 5\n"])
def test_trusted_types_that_are_no_names_are_refused(small_project: Path, text: str) -> None:
    assert "set of names" in str(catch_problem(write_hooks(small_project, model=text), "trusted_types"))


def test_metrics_that_are_no_list_are_refused(small_project: Path) -> None:
    assert "write a list" in str(catch_problem(write_hooks(small_project, metrics="METRICS = {}\n"), "metrics"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return raw.head(3)", "3 rows for 200"),
        ("return raw.reset_index(drop=True).iloc[::-1]", "another index"),
        ("return raw.to_numpy()", "returns a ndarray"),
        ("return None", "returns a NoneType"),
    ],
)
def test_features_of_another_shape_are_one_sentence(small_project: Path, body: str, reason: str) -> None:
    hooks = write_hooks(small_project, features=f"def features(raw):\n    {body}\n")
    with pytest.raises(HookError, match=reason):
        hooks.compute_features(RAW)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return raw.assign(x=raw['x'] - raw['x'].mean())", "another x when other rows are missing"),
        ("return raw.assign(x=raw['x'].rank())", "another x"),
        ("return raw.assign(x=raw['x'].diff())", "another x"),
        ("raw['z'] = 1; return raw", "changes the table"),
        ("return raw.assign(**{f'n{len(raw)}': 1})", "other columns"),
    ],
)
def test_features_that_look_at_other_rows_are_one_sentence(small_project: Path, body: str, reason: str) -> None:
    hooks = write_hooks(small_project, features=f"def features(raw):\n    {body}\n")
    with pytest.raises(HookError, match=reason):
        hooks.compute_pure_features(RAW.copy())


def test_pure_features_pass(small_project: Path) -> None:
    hooks = write_hooks(small_project, features=PURE)
    assert hooks.compute_pure_features(RAW).equals(RAW)


def test_features_with_categories_are_pure_though_a_sample_has_fewer(small_project: Path) -> None:
    body = "return raw.assign(x=raw['x'].astype('category'))"
    hooks = write_hooks(small_project, features=f"def features(raw):\n    {body}\n")
    assert hooks.compute_pure_features(RAW)["x"].nunique() == RAW["x"].nunique() > 64


@pytest.mark.parametrize("rows", [1, 2, 63, 65])
def test_pure_features_of_few_rows_pass(small_project: Path, rows: int) -> None:
    hooks = write_hooks(small_project, features=PURE)
    assert len(hooks.compute_pure_features(RAW.head(rows))) == rows


def test_load_that_returns_a_table_is_one_sentence(small_project: Path) -> None:
    text = "import pandas\ndef load(source):\n    return pandas.DataFrame()\n"
    with pytest.raises(HookError, match="must yield tables"):
        write_hooks(small_project, data=text).call_load(DataSource(Path("x")))


def test_a_package_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\n[tool.modelyard]\npackage = "nowhere"\n')
    with pytest.raises(SettingError, match="no folder src/nowhere"):
        _ = Project.load(tmp_path).hooks


def test_two_projects_with_one_package_name_have_their_own_hooks(small_project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "src/flight_delays").mkdir(parents=True)
    (other / "src/flight_delays/__init__.py").touch()
    (other / "pyproject.toml").write_text((small_project / "pyproject.toml").read_text())
    ours = write_hooks(small_project, features="def features(raw):\n    return 'ours'\n")
    theirs = write_hooks(other, features="def features(raw):\n    return 'theirs'\n")
    assert [hooks.features(RAW) for hooks in (ours, theirs)] == ["ours", "theirs"]


def test_a_file_beside_the_package_stands_in_for_no_installed_module(small_project: Path) -> None:
    for name in ("colorsys", "helper"):
        (small_project / f"src/{name}.py").write_text("HUE = 'ours'\n")
    text = "import colorsys\nimport helper\nfrom flight_delays.data import SIZE\n"
    hooks = write_hooks(small_project, data="SIZE = 3\n", features=text + PURE + "features.seen = (colorsys, helper)\n")
    installed, own = hooks.features.seen  # type: ignore[attr-defined]
    assert not hasattr(installed, "HUE") and own.HUE == "ours"
    assert sys.path[-1] == str(small_project / "src")


def test_a_package_without_init_is_found(small_project: Path) -> None:
    (small_project / "src/flight_delays/__init__.py").unlink()
    assert write_hooks(small_project, features=PURE).features(RAW).equals(RAW)


def test_a_package_that_fails_is_not_kept(small_project: Path) -> None:
    (small_project / "src/flight_delays/__init__.py").write_text("raise ValueError('closed')\n")
    assert "closed" in str(catch_problem(write_hooks(small_project, features=PURE), "features"))
    assert "flight_delays" not in sys.modules
