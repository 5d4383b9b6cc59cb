import subprocess
import sys
from pathlib import Path

import pytest

import modelyard
from modelyard.core.errors import InvalidFileError, MissingFileError, SettingError
from modelyard.core.project import Project
from tests.library.support import LIBRARY

PYPROJECT = '[project]\nname = "a-project"\n[tool.modelyard]\npackage = "a_package"\n'


def load(folder: Path, text: str) -> Project:
    (folder / "pyproject.toml").write_text(text)
    return Project.load(folder)


def test_a_project_has_its_name_package_and_folders(tmp_path: Path) -> None:
    project = load(tmp_path, PYPROJECT)
    assert (project.name, project.package) == ("a-project", "a_package")
    assert project.source == tmp_path / "src/a_package"


def test_params_are_read_when_they_are_asked_for(tmp_path: Path, small_project: Path) -> None:
    project = load(tmp_path, PYPROJECT)
    assert not (tmp_path / "params.yaml").exists()
    (tmp_path / "params.yaml").write_text((small_project / "params.yaml").read_text())
    assert project.params.data.target == "late"


def test_no_pyproject_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="in the project's folder"):
        Project.load(tmp_path)


def test_a_pyproject_that_is_not_toml_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidFileError) as caught:
        load(tmp_path, "name = [")
    assert caught.value.path == Path("pyproject.toml")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[tool.modelyard]\npackage = "a"\n', "project: name"),
        ('[project]\nname = "a"\n', "tool.modelyard: package"),
        ('[project]\nname = "a"\n[tool.modelyard]\n', "tool.modelyard: package"),
        ('[project]\nname = "a"\n[tool]\nmodelyard = "a"\n', "tool.modelyard: package"),
        ('[project]\nname = "a"\n[tool.modelyard]\npackage = 5\n', "tool.modelyard.package is 5"),
    ],
)
def test_a_missing_setting_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(SettingError, match=key):
        load(tmp_path, text)


def test_a_newer_protocol_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="the library in packages/modelyard is older") as caught:
        load(tmp_path, f"{PYPROJECT}protocol = {modelyard.PROTOCOL + 1}\n")
    assert caught.value.setting == "pyproject.toml: tool.modelyard.protocol"


def test_an_older_library_that_judges_a_newer_branch_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELYARD_GATE_RULES_FROM", "a-base")
    assert load(tmp_path, f"{PYPROJECT}protocol = {modelyard.PROTOCOL + 1}\n").name == "a-project"


@pytest.mark.parametrize("protocol", ['"1"', "true", "1.5"])
def test_a_protocol_that_is_no_number_is_one_sentence(tmp_path: Path, protocol: str) -> None:
    with pytest.raises(SettingError):
        load(tmp_path, f"{PYPROJECT}protocol = {protocol}\n")


def test_this_protocol_passes(tmp_path: Path) -> None:
    assert load(tmp_path, f"{PYPROJECT}protocol = {modelyard.PROTOCOL}\n").name == "a-project"


def test_every_public_name_can_be_imported() -> None:
    assert all(getattr(modelyard, name) is not None for name in modelyard.__all__)


def test_the_public_names_are_those_of_the_design() -> None:
    assert set(modelyard.__all__) == {
        *("Project", "Params", "Metric", "mean_metric", "DataSource", "UserError", "IntegrityError"),
        *("__version__", "PROTOCOL", "TrainParams"),
    }


def test_importing_the_project_needs_the_standard_library_alone() -> None:
    code = "import sys; import modelyard.core.project, modelyard.core.hooks; print(*sys.modules)"
    command = [sys.executable, "-S", "-c", code]
    env = {"PYTHONPATH": str(LIBRARY / "src")}
    modules = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.split()
    assert not {"numpy", "pandas", "yaml", "msgspec"} & set(modules)
