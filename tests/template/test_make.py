"""The verbs of a project: what is given to make is an option, as text; what a shell exports never is."""

from pathlib import Path

import pytest

from tests.template.support import Bake, BakedProject

SHOW = '\nshow:\n\t@env | grep "^MODELYARD_" | sort\n\nagain:\n\t@$(MAKE) --no-print-directory show\n'


@pytest.fixture
def shown(bake: Bake, tmp_path: Path) -> BakedProject:
    """A project with a verb of its owner's, which shows the options."""
    project = bake().copied(tmp_path)
    (project.path / "Makefile").write_text(project.read("Makefile") + SHOW)
    return project


def options(text: str) -> dict[str, str]:
    found = dict(line.split("=", 1) for line in text.splitlines())
    return {name.removeprefix("MODELYARD_"): text for name, text in found.items()}


@pytest.mark.parametrize("verb", ["show", "again"])
@pytest.mark.parametrize("text", ["$(shell touch x)", "`touch x`", "$$HOME ${HOME}", "a  b 'c' \"d\"", "#", ""])
def test_an_option_is_text(shown: BakedProject, verb: str, text: str) -> None:
    assert options(shown.run("make", verb, f"OUT={text}"))["OUT"] == text
    assert not shown.has("x")


def test_an_exported_variable_is_no_option(shown: BakedProject, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MODEL", "ENV", "BASE", "OUT", "LOGS", "VENV", "TRACK", "PYTHON"):
        monkeypatch.setenv(name, "gpt-4o")
    assert set(options(shown.run("make", "show"))) == {"UV", "VENV"}
    assert options(shown.run("make", "show"))["VENV"] == ".venv"


def test_what_travels_with_the_prefix_is_an_option(shown: BakedProject) -> None:
    given = {"MODELYARD_BASE": "$(shell touch x)", "MODELYARD_VENV": "there"}
    found = options(shown.run("make", "show", **given))
    assert (found["BASE"], found["VENV"]) == ("$(shell touch x)", "there")
    assert options(shown.run("make", "show", "BASE=main", **given))["BASE"] == "main"


def test_verbs_run_in_order_whatever_the_flags(shown: BakedProject) -> None:
    verbs = "\na:\n\t@sleep 0.2; echo a\nb:\n\t@echo b\n"
    (shown.path / "Makefile").write_text(shown.read("Makefile") + verbs)
    assert shown.run("make", "a", "b", MAKEFLAGS="-j4").split() == ["a", "b"]


def test_help_shows_every_verb_once(bake: Bake) -> None:
    names = [line.split()[0] for line in bake().make("help").splitlines() if line.startswith("  ")]
    assert len(names) == len(set(names)) and {"next", "pipeline", "gate", "serve", "protect"} <= set(names)
    assert "serve" not in bake(deploy="none").make("help").split()


def test_a_missing_library_is_one_sentence(bake: Bake, tmp_path: Path) -> None:
    project = bake().copied(tmp_path)
    (project.path / "packages").rename(tmp_path / "away")
    said = project.run("make", "gate", check=False)
    assert len(said.splitlines()) == 1 and "packages/modelyard, the library" in said
