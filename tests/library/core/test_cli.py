import subprocess
import sys

import pytest

from modelyard import __version__, cli
from modelyard.core.errors import UserError
from tests.library.support import LIBRARY


def command(base: str = "", drop: bool = False, trials: int = 3, in_: str = "") -> int:
    """Print its arguments."""
    print(base, drop, trials, in_)
    return trials


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A command line whose `train` is `command`."""
    monkeypatch.setattr(cli, "load_command", lambda name: command)
    return monkeypatch


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(name: str) -> None:
    assert "--verbose" in cli.make_parser(name, cli.load_command(name)).format_help()


def test_a_command_that_an_image_leaves_out_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "gate", "left_out.verdict:main")
    assert cli.main(["gate"]) == 1
    said = "error: there is no gate here, as in an image; run it in the project's folder\n"
    assert capsys.readouterr().err == said


def test_another_missing_module_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cli.COMMANDS, "gate", "core.left_out:main")
    with pytest.raises(ModuleNotFoundError, match="left_out"):
        cli.main(["gate"])


def test_every_make_verb_that_runs_the_library_is_a_command() -> None:
    lines = "".join(path.read_text(encoding="utf-8") for path in sorted(LIBRARY.glob("*.mk"))).splitlines()
    verbs = [lines[i - 1].partition(":")[0] for i, line in enumerate(lines) if line in ("\t$(RUN)", "\t$(BARE)")]
    assert verbs and set(verbs) <= set(cli.COMMANDS)


@pytest.mark.usefixtures("known")
def test_options_are_the_parameters_of_the_function(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--base", "main", "--drop", "--trials", "7", "--in", "x"]) == 7
    assert capsys.readouterr().out == "main True 7 x\n"


def test_variables_of_other_programs_are_not_options(
    known: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("BASE", "DROP", "TRIALS", "IN"):
        known.setenv(name, "1")
    assert cli.main(["train"]) == 3
    assert capsys.readouterr().out == " False 3 \n"


@pytest.mark.parametrize(("value", "on"), [("1", True), ("yes", True), ("0", False), ("no", False), ("", False)])
def test_variables_with_our_prefix_are_options(
    value: str, on: bool, known: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known.setenv("MODELYARD_BASE", "$(touch x)")
    known.setenv("MODELYARD_DROP", value)
    known.setenv("MODELYARD_TRIALS", "0")
    assert cli.main(["train"]) == 0
    assert capsys.readouterr().out == f"$(touch x) {on} 0 \n"


@pytest.mark.parametrize(("value", "on"), [("", True), ("0", False), ("1", True)])
def test_an_empty_variable_keeps_the_default(value: str, on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def track(test: bool = True) -> int:
        return int(test)

    monkeypatch.setenv("MODELYARD_TEST", value)
    assert cli.make_parser("track", track).parse_args([]).test is on


def refuse() -> int:
    raise UserError("this is wrong; do that", code=2)


def test_a_user_error_is_one_line_and_its_code(known: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    known.setattr(cli, "load_command", lambda name: refuse)
    assert cli.main(["train"]) == 2
    assert capsys.readouterr().err == "error: this is wrong; do that\n"


def test_verbose_shows_where_an_error_comes_from(known: pytest.MonkeyPatch) -> None:
    known.setattr(cli, "load_command", lambda name: refuse)
    with pytest.raises(UserError):
        cli.main(["train", "-v"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["remote"], "error: remote needs URL; run `make remote URL=…`\n"),
        (["score", "--int", "x"], "error: score needs IN and OUT; run `make score IN=… OUT=…`\n"),
    ],
)
def test_missing_options_are_named_as_make_takes_them(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err == sentence


def test_usage_error_names_the_missing_options() -> None:
    with pytest.raises(cli.UsageError) as refusal:
        cli.make_parser("score", refuse_without_input).parse_args([])
    assert (refusal.value.missing, refusal.value.code) == (("in", "out"), 2)


def refuse_without_input(in_: str, out: str) -> int:
    """Need two options."""
    return len(in_ + out)


@pytest.mark.usefixtures("known")
def test_an_option_of_another_type_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--trials", "many"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--help"], 0), (["nonsense"], 2)])
def test_main_without_a_known_command_lists_the_commands(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    assert "adopt" in capsys.readouterr().out


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        *("core.console", "core.errors", "core.histogram", "core.paths", "core.process", "core.project"),
        *("github.alert", "github.api", "github.post", "github.release", "github.sanitize"),
        *("workspace.doctor", "workspace.next_step"),
    ],
)
def test_module_imports_without_any_installed_package(module: str) -> None:
    code = f"import sys; sys.path.insert(0, {str(LIBRARY / 'src')!r}); import modelyard.{module}"
    assert subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0
