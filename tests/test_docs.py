"""The documentation is true: its commands exist and run, its reference is the code's, its pages are linked."""

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, BakedProject, installed, run

from docs import reference

PROJECT = next(ROOT.glob("{{*"))
BIN = Path(sys.executable).parent
PAGES = [
    *(ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md"),
    *sorted({*ROOT.glob("docs/*.md")} - {ROOT / "docs/comparison.md"}),  # its commands are others'
    *(PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md"))),
]
MAKEFILES = [ROOT / "Makefile", PROJECT / "Makefile", *ROOT.glob("tracking/*/Makefile")]
VERB = re.compile(r"(?m)^([a-z-]+):.*## ")
# What a page may start with besides `make`, and where it is run.
OTHERS = {
    **dict.fromkeys(
        ("uvx", "cd", "git", "sed", "rm", "echo", "export", ".venv/bin/python", "$EDITOR"),
        "the tutorial, test_update.py",
    ),
    **dict.fromkeys(("bash", "gh"), "the CI itself; GitHub, docs/first-push.md"),
}
# Verbs that no test calls through make, and who calls them.
ELSEWHERE = {
    "demo": "benchmarks/pipeline.py",
    "bench": "by hand: measurements",
    "sample": "by hand: downloads all flights",
    "ui": "by hand: opens MLflow until it is stopped",
    **dict.fromkeys(("lint", "docs"), "the CI"),
    "test-slow": "the CI",
    "files": "test_the_reference_is_current, test_render.py",
    "up": "by hand: Docker Compose; test_tracking.py runs what it starts",
    **dict.fromkeys(("backup", "restore"), "test_tracking.py"),
}


def parts(line: str) -> list[list[str]]:
    """The words of each command of a shell line, without its comment."""
    lexer = shlex.shlex(line.replace("…", ""), posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("&|;"):
            found.append([])
        else:
            found[-1].append(word)
    return [words for words in found if words]


def commands(page: Path) -> list[list[str]]:
    """The commands of a page: the lines of its `sh` blocks and every code span that starts with make."""
    text = page.read_text(encoding="utf-8")
    lines = [x for block in re.findall(r"```sh\n(.*?)```", text, re.S) for x in block.splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`(make\s[^`]+)`", text)]
    return [words for line in lines for words in parts(line)]


def made(page: Path) -> list[list[str]]:
    """The words behind `make` of each such command."""
    return [words[1:] for words in commands(page) if words[0] == "make"]


def variables(verb: str) -> set[str]:
    """What may stand behind a verb: the options of its module, and what the Makefiles read."""
    read = " ".join(path.read_text(encoding="utf-8") for path in MAKEFILES)
    found = {a or b for a, b in re.findall(r"\$\(([A-Z_]+)\)|\$\$\{?([A-Z_]+)", read)}
    return found | set(re.findall(r"`([A-Z_]+)=", reference.options(verb))) | {"VENV"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verb_and_variable_exists(page: Path) -> None:
    known = {verb for path in MAKEFILES for verb in VERB.findall(path.read_text(encoding="utf-8"))}
    for words in made(page):
        named = [word for word in words if "=" not in word]
        assert set(named) <= known, f"{page.name}: make {' '.join(words)}"
        taken = set[str]().union(*(variables(verb) for verb in named))
        given = {word.partition("=")[0] for word in words if "=" in word}
        assert given <= taken, f"{page.name}: make {' '.join(words)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_other_command_is_known(page: Path) -> None:
    assert {words[0] for words in commands(page)} - {"make", *OTHERS} == set()


def test_every_verb_is_run_by_a_test() -> None:
    """By a test's `make`, a workflow that the tests run, the tutorial, or its own test in the project."""
    tests = " ".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    flows = " ".join(
        path.read_text(encoding="utf-8") for path in PROJECT.glob(".github/workflows/*")
    )
    called = " ".join(re.findall(r"""make(?:\(|",)((?:[^()]|\([^()]*\))*)\)""", tests))
    run_by = set(re.findall(r'"([a-z-]+)', called)) | set(re.findall(r"run: make ([a-z-]+)", flows))
    run_by |= {path.stem.removeprefix("test_") for path in PROJECT.glob("tests/test_*.py")}
    run_by |= {word for words in made(ROOT / "docs/tutorial.md") for word in words}
    said = {word for page in PAGES for words in made(page) for word in words if "=" not in word}
    assert " ".join(sorted(said - run_by - set(ELSEWHERE))) == ""


def test_the_reference_is_current() -> None:
    assert reference.page() == reference.PAGE.read_text(encoding="utf-8"), "run `make files`"


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {path.name for path in ROOT.glob("docs/*.md")} | {"index.md", "changelog.md"}
    assert listed == pages


def test_the_score_names_checks_that_exist() -> None:
    text = (ROOT / "docs/ml-test-score.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \|[^|]+\| (1|½) \|([^|]+)\|", text, re.M)
    assert len(rows) == 28
    for file, name in re.findall(r"`(?:template:)?(test_\w+\.py)(?:::(\w+))?`", text):
        paths = [folder / "tests" / file for folder in (ROOT, PROJECT)]
        found = "".join(path.read_text(encoding="utf-8") for path in paths if path.exists())
        assert f"def {name or 'test_'}" in found, f"{file}::{name}"


def test_the_score_is_the_sum_of_its_rows() -> None:
    text = (ROOT / "docs/ml-test-score.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| (\w+) \| ([\d½]+) \|", text, re.M))
    for section in text.split("\n## ")[1:]:
        counts = re.findall(r"^\| \d \|[^|]+\| (1|½) \|", section, re.M)
        whole, half = divmod(sum(2 if count == "1" else 1 for count in counts), 2)
        assert said[section.split("\n")[0].lower()] == f"{whole}{'½' * half}"


def blocks(project: Path, template: Path) -> Iterator[str]:
    """The tutorial's blocks, with this template for the published one and a folder for GitHub."""
    text = (ROOT / "docs/tutorial.md").read_text(encoding="utf-8")
    hub = project.parent / "hub.git"
    run("git", "init", "--quiet", "--bare", hub, cwd=project.parent)
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        here = block.replace(
            "uvx cookiecutter gh:<owner>/mlops-template", f"{BIN}/cookiecutter {template}"
        )
        yield here.replace("git@github.com:<owner>/flight-delays.git", str(hub))


@pytest.mark.slow
def test_the_tutorial_runs(
    template: Path, tmp_path: Path, bake: Callable[..., BakedProject]
) -> None:
    """Every command, in order; each block in a shell that stops at the first that fails."""
    project = tmp_path / "flight-delays"
    venv = f"VENV={installed(bake())}"
    env, said = {"VENV": venv.partition("=")[2]}, []
    for number, block in enumerate(blocks(project, template)):
        here = tmp_path if number == 0 else project
        said.append(
            run(
                "bash", "-euc", block.replace(".venv/bin/py", "$VENV/bin/py"), cwd=here, **env
            ).lower()
        )
    assert "make pipeline" in said[0]
    assert "the gate says no" in said[4] and "better" in said[2] and "not worse" in said[6]
    done = BakedProject(project)
    done.make("help", venv)
    done.make("doctor", venv)
    done.make("registry", venv, check=False)
    done.make("score", venv, "IN=data/holdout.parquet", "OUT=../said.csv")
    params = done.path / "params.yaml"
    params.write_text(done.read("params.yaml").replace("trials: 20", "trials: 1"))
    done.make("sweep", venv)
    (done.path / "dvc.lock").write_text("<<<<<<< HEAD\n")
    assert "run `make resolve`" in done.make("pipeline", venv, check=False)
    assert done.make(venv).startswith("next  make resolve")
