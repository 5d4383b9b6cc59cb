import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from {{cookiecutter.__package}} import __main__ as command
from {{cookiecutter.__package}}.config import UserError

MAKEFILE = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")


def verb(base: str = "", drop: bool = False, trials: int = 3, in_: str = "") -> int:
    """What it does."""
    print(base, drop, trials, in_)
    return trials


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command line whose one verb is `verb`."""
    module = ModuleType("verb")
    module.main = verb  # type: ignore[attr-defined]
    monkeypatch.setattr(command, "verbs", lambda: {"verb": Path("verb.py")})
    monkeypatch.setattr(command.importlib, "import_module", lambda name, package: module)
    for name in ("BASE", "DROP", "TRIALS", "IN"):
        monkeypatch.delenv(name, raising=False)
    return module


def test_every_module_with_a_main_is_a_verb() -> None:
    assert {"validate", "split", "train", "evaluate", "adopt", "gate"} <= set(command.verbs())
    assert "config" not in command.verbs()


def test_every_target_that_runs_the_package_is_a_verb() -> None:
    targets = [before.split("\n")[-1].split(":")[0] for before in MAKEFILE.split("\n\t$(RUN)")[:-1]]
    assert [target for target in targets if target not in command.verbs()] == []


@pytest.mark.usefixtures("known")
def test_options_are_the_parameters_of_main(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["verb", "--base", "main", "--drop", "--trials", "7", "--in", "x"]) == 7
    assert capsys.readouterr().out == "main True 7 x\n"


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(("value", "on"), [("1", True), ("yes", True), ("0", False), ("no", False), ("", False)])
def test_options_come_from_the_environment(
    value: str, on: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASE", "main")
    monkeypatch.setenv("DROP", value)
    monkeypatch.setenv("TRIALS", "0")
    assert command.run(["verb"]) == 0
    assert capsys.readouterr().out == f"main {on} 0 \n"


def test_a_user_error_is_one_line_and_its_code(known: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse() -> None:
        raise UserError("this is wrong; do that", code=2)

    known.main = refuse  # type: ignore[attr-defined]
    assert command.run(["verb"]) == 2
    assert capsys.readouterr().err == "error: this is wrong; do that\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["remote"], "error: remote needs URL; run `make remote URL=…`\n"),
        (["score", "--int", "x"], "error: score needs IN and OUT; run `make score IN=… OUT=…`\n"),
    ],
)
def test_what_is_missing_is_one_sentence(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("URL", "IN", "OUT"):
        monkeypatch.delenv(name, raising=False)
    assert command.run(arguments) == 2
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("known")
def test_an_option_of_another_kind_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["verb", "--trials", "many"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--help"], 0), (["nonsense"], 2)])
def test_without_a_verb_the_verbs_are_listed(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(arguments) == code
    assert "adopt" in capsys.readouterr().out


def test_the_command_line_starts_without_heavy_imports() -> None:
    heavy = "('pandas', 'sklearn', 'mlflow')"
    code = f"import sys, {command.__package__}.__main__; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
