from collections.abc import Iterator

import pytest

from modelyard.core import console


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    """A console that is not quiet after the test."""
    yield
    console.set_quiet(False)


def test_report_stage_prints_rows_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    with console.report_stage("train", 1234) as notes:
        notes["model"] = "abc"
        notes["learned from"] = 1000
    line = capsys.readouterr().out
    assert line.split()[:4] == ["train", "1,234", "rows", "in"]
    assert "model abc  learned from 1,000" in line


def test_quiet_prints_errors_annotations_and_data_only(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_quiet(True)
    console.print_line("line")
    console.print_result("gate", "better")
    console.print_annotation("warning", "gate", "worse")
    console.print_data("{}")
    console.print_error("error: no")
    assert capsys.readouterr() == ("::warning title=gate::worse\n{}\n", "error: no\n")


def test_colour_word_is_plain_without_a_terminal() -> None:
    assert console.colour_word("ok", 4) == "ok  "


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_word_on_a_terminal(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("TERM", raising=False)
    assert console.colour_word("ok") == "\x1b[32mok\x1b[0m"
    monkeypatch.setenv(variable, value)
    assert console.colour_word("ok") == "ok"
