import sys

import pytest

from modelyard.workspace.confirm import ConfirmationError, confirm


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input that is a terminal."""
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)


def test_yes_beforehand_asks_nobody() -> None:
    assert confirm("protect", "the list above", "Change this?", yes=True)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("answer", "expected"), [("y", True), ("YES ", True), ("", False), ("n", False)])
def test_answer_on_a_terminal(answer: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert confirm("protect", "the list above", "Change this?", yes=False) is expected


def test_without_a_terminal_the_error_names_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(ConfirmationError, match="make protect YES=1") as error:
        confirm("protect", "the list above", "Change this?", yes=False)
    assert error.value.verb == "protect"
