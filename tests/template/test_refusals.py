"""A bad answer is refused before a file is written, in two lines; a fair one is taken."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from cookiecutter.exceptions import FailedHookException

from tests.template.support import CHOICES, ROOT, Answers

Render = Callable[..., Path]
REFUSED = [
    ("project_name", ""),
    ("project_name", "   "),
    ("project_name", "two\nlines"),
    ("project_name", "a" * 101),
    ("description", ""),
    ("description", "a\rb"),
    ("description", "tab\there"),
    ("description", "line\u2028separator"),
    ("author", ""),
    ("author", "bell\a"),
    ("author", "next\x85line"),
    ("author", "not\ufffea character"),
    ("project_slug", "Flight-Delays"),
    ("project_slug", "flight_delays"),
    ("project_slug", "flight delays"),
    ("project_slug", "flight.delays"),
    ("project_slug", "-flights"),
    ("project_slug", "flights-"),
    ("project_slug", "flight--delays"),
    ("project_slug", "1st-flight"),
    ("project_slug", "1_b@d"),
    ("project_slug", "vols-retardés"),
    ("project_slug", "flights\n"),
    ("project_slug", "a" * 64),
    ("project_slug", "class"),
    ("project_slug", "lambda"),
    ("project_slug", "json"),
    ("project_slug", "concurrent"),
    ("project_slug", "numpy"),
    ("project_slug", "pandas"),
    ("project_slug", "sklearn"),
    ("project_slug", "scikit-learn"),
    ("project_slug", "mlflow"),
    ("project_slug", "dvc"),
    ("project_slug", "modelyard"),
    ("project_slug", "tests"),
    ("project_slug", "src"),
    ("project_slug", "con"),
    ("project_slug", "prn"),
    ("project_slug", "aux"),
    ("project_slug", "nul"),
    ("project_slug", "com0"),
    ("project_slug", "com1"),
    ("project_slug", "com9"),
    ("project_slug", "lpt1"),
    ("project_slug", "lpt9"),
    ("project_slug", "flights."),
    ("project_slug", "flights "),
    ("project_slug", "CON"),
    ("project_slug", "Flights"),
]
FAIR = [
    ("project_name", 'O\'Brien & Söhne "ML"'),
    ("project_name", "Müllers 3. Versuch (neu)"),
    ("project_name", "a" * 100),
    ("project_slug", "a"),
    ("project_slug", "r2-d2"),
    ("project_slug", "match"),
    ("project_slug", "console"),
    ("project_slug", "com10"),
    ("project_slug", "con-flights"),
    ("project_slug", "a" * 63),
    ("description", "C:\\temp is no escape, nor is \\n"),
    ("author", "Zoë 👩‍🔬"),
]


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """The hook as a module, before rendering."""
    spec = importlib.util.spec_from_file_location("hook", ROOT / "hooks" / "pre_gen_project.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def answers() -> Answers:
    """Answers that are all accepted."""
    texts = {"project_name": "A", "project_slug": "a", "description": "A", "author": "A"}
    return texts | {question: choices[0] for question, choices in CHOICES.items()}


@pytest.mark.parametrize(("question", "answer"), REFUSED)
def test_bad_answer_is_refused(hook: ModuleType, answers: Answers, question: str, answer: str) -> None:
    refused = {q for q, refusal in hook.refusals(answers | {question: answer}).items() if refusal}
    assert refused == {question}


def test_device_of_windows_is_refused_with_the_reason(hook: ModuleType, answers: Answers) -> None:
    assert "a device of Windows" in hook.refusals(answers | {"project_slug": "nul"})["project_slug"][1]


@pytest.mark.parametrize(("question", "answer"), FAIR)
def test_fair_answer_is_accepted(hook: ModuleType, answers: Answers, question: str, answer: str) -> None:
    assert not any(hook.refusals(answers | {question: answer}).values())


@pytest.mark.parametrize(
    "answers",
    [
        {"project_slug": "class"},
        {"project_slug": "Bad Name"},
        {"project_name": "two\nlines", "project_slug": "lines"},
        {"author": "a\tb"},
        {"project_name": "***"},
    ],
    ids=["keyword", "slug", "line-break", "control", "nothing-left-of-the-name"],
)
def test_refusal_writes_nothing(render: Render, tmp_path: Path, answers: Answers) -> None:
    target = tmp_path / "out"
    with pytest.raises(FailedHookException):
        render(target, answers)
    assert not target.exists() or list(target.rglob("*")) == []


def test_refusal_leaves_an_existing_project_as_it_was(render: Render, tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "mine.txt").write_text("mine")
    with pytest.raises(FailedHookException):
        render(tmp_path, {"project_slug": "class"}, force=True)
    assert [path.name for path in (tmp_path / "class").iterdir()] == ["mine.txt"]


def test_refusal_takes_two_lines(render: Render, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FailedHookException):
        render(tmp_path, {"project_slug": "Bad Name"})
    refused, accepted = capfd.readouterr().err.splitlines()[:2]
    assert refused == "refused: project_slug = 'Bad Name'"
    assert accepted.startswith("accepted: lowercase letters and digits")


@pytest.mark.parametrize("question", CHOICES)
def test_choice_that_is_not_offered_is_refused(hook: ModuleType, answers: Answers, question: str) -> None:
    refusal = hook.refusals(answers | {question: "another"})[question]
    assert refusal == ("another", ", ".join(CHOICES[question]))


def test_every_pinned_library_is_refused_as_a_package(hook: ModuleType) -> None:
    pins = next(ROOT.glob("{{*/requirements/dev.txt")).read_text(encoding="utf-8")
    names = {re.sub(r"[-_.]+", "_", name).lower() for name in re.findall(r"^([\w.-]+)==", pins, re.M)}
    possible = {name for name in names if hook.SLUG.fullmatch(name.replace("_", "-"))}
    assert sorted(possible - set(hook.INSTALLED.split())) == []
