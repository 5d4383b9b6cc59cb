"""The documentation is true: its commands exist and run, its reference is the code's, its pages are linked."""

import ast
import importlib
import re
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from docs import drawing, reference

from modelyard.cli import COMMANDS
from modelyard.core.hooks import HOOKS
from modelyard.core.project import Project
from modelyard.core.yaml import read_yaml
from modelyard.data.source import open_table
from modelyard.gate import verdict
from modelyard.pipeline.estimator import fit_pipeline
from modelyard.pipeline.model_file import load_model, save_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.comparison import compute_difference
from modelyard.statistics.metrics import load_own_metrics
from modelyard.testing import make_rows
from tests.library.support import PROJECT as SMALL_PROJECT
from tests.template.support import ROOT, Bake, BakedProject, installed, run

PROJECT = next(ROOT.glob("{{*"))
BIN = Path(sys.executable).parent
PAGES = [
    *(ROOT / "README.md", ROOT / ".github/CONTRIBUTING.md"),
    *sorted({*ROOT.glob("docs/*.md")} - {ROOT / "docs/comparison.md"}),  # its commands are others'
    *(PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md"))),
]
MAKEFILES = [ROOT / "Makefile", *ROOT.glob("packages/modelyard/*.mk"), *ROOT.glob("tracking/*/Makefile")]
VERB = re.compile(r"(?m)^([a-z-]+):.*## ")
# What a page may start with besides `make`, and where it is run.
OTHERS = {
    **dict.fromkeys(
        ("uvx", "cd", "git", "sed", "rm", "echo", "export", ".venv/bin/python", "${EDITOR:-vi}"),
        "the tutorial, test_update.py",
    ),
    **dict.fromkeys(("bash", "gh"), "the CI itself; GitHub, docs/first-push.md"),
    "eval": "test_tracking.py",
}
# Verbs that no test calls through make, and who calls them.
ELSEWHERE = {
    "bench": "by hand: measurements",
    **dict.fromkeys(("demo", "lint", "docs", "test-slow", "test-containers"), "the CI"),
    "serve": "test_serving.py",
    "files": "test_the_reference_is_current, test_render.py",
    **dict.fromkeys(("up", "backup", "restore"), "test_tracking.py"),
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


def blocks_of(page: Path) -> list[str]:
    """The shell blocks of a page."""
    return re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def commands(page: Path) -> list[list[str]]:
    """The commands of a page: the lines of its `sh` blocks and every code span that starts with make."""
    text = page.read_text(encoding="utf-8")
    lines = [x for block in blocks_of(page) for x in block.splitlines()]
    lines += [" ".join(span.split()) for span in re.findall(r"`(make\s[^`]+)`", text)]
    return [words for line in lines for words in parts(line)]


def made(page: Path) -> list[list[str]]:
    """The words behind `make` of each such command, without the folder that it is run in."""
    found = (" ".join(words[1:]) for words in commands(page) if words[0] == "make")
    return [re.sub(r"-s?C \S+ ", "", words).split() for words in found]


def variables(verb: str) -> set[str]:
    """What may stand behind a verb: the options of its module, and what the Makefiles read."""
    read = " ".join(path.read_text(encoding="utf-8") for path in MAKEFILES)
    found = {a or b for a, b in re.findall(r"\$\(([A-Z_]+)\)|\$\$\{?(?:MODELYARD_)?([A-Z_]+)", read)}
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


def library_test(place: str) -> Path:
    """The test of a command's module."""
    district, _, module = place.partition(":")[0].partition(".")
    return ROOT / "tests" / "library" / district / f"test_{module}.py"


def test_every_verb_is_run_by_a_test() -> None:
    """By a test's `make`, a workflow that the tests run, the tutorial, or the test of its module."""
    tests = " ".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    flows = " ".join(path.read_text(encoding="utf-8") for path in PROJECT.glob(".github/workflows/*"))
    called = " ".join(re.findall(r"""make(?:\(|",)((?:[^()]|\([^()]*\))*)\)""", tests))
    run_by = set(re.findall(r'"([a-z-]+)', called)) | set(re.findall(r"run: make ([a-z-]+)", flows))
    run_by |= {verb for verb, place in COMMANDS.items() if library_test(place).exists()}
    run_by |= {word for words in made(ROOT / "docs/tutorial.md") for word in words}
    said = {word for page in PAGES for words in made(page) for word in words if "=" not in word}
    assert " ".join(sorted(said - run_by - set(ELSEWHERE))) == ""


def test_the_reference_is_current() -> None:
    assert reference.page() == reference.PAGE.read_text(encoding="utf-8"), "run `make files`"
    assert reference.api() == reference.API.read_text(encoding="utf-8"), "run `make files`"


def resolve(name: str) -> Any:
    """The module, class, function or method of a dotted name below modelyard."""
    module, rest = "modelyard", name.removeprefix("modelyard.").split(".")
    while rest and (reference.PACKAGE.parent / f"{module}.{rest[0]}".replace(".", "/")).is_dir():
        module = f"{module}.{rest.pop(0)}"
    if rest and (reference.PACKAGE.parent / f"{module}.{rest[0]}".replace(".", "/")).with_suffix(".py").exists():
        module = f"{module}.{rest.pop(0)}"
    found: Any = importlib.import_module(module)
    for part in rest:
        found = getattr(found, part)
    return found


def qualified_names(page: Path) -> set[str]:
    """The dotted names in code spans that start with modelyard; on the page of the architecture, with a district."""
    districts = "|".join(path.parent.name for path in reference.PACKAGE.glob("*/__init__.py"))
    start = f"modelyard|{districts}" if page.name == "architecture.md" else "modelyard"
    found = re.findall(rf"`((?:{start})(?:[.:]\w+)+)(?:\(\))?`", page.read_text(encoding="utf-8"))
    return {name.replace(":", ".") for name in found}


@pytest.mark.parametrize("page", [page for page in PAGES if qualified_names(page)], ids=lambda page: page.name)
def test_every_qualified_name_exists(page: Path) -> None:
    for name in sorted(qualified_names(page)):
        try:
            resolve(name)
        except (AttributeError, ImportError):
            pytest.fail(f"{page.name}: there is no {name}")


def test_the_architecture_names_the_contracts() -> None:
    """Its table has every district with exactly what import-linter lets it import, and so has its drawing."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(\w+)` \|[^|]+\| ([^|]+) \|", text)
    assert {district: set(re.findall(r"`(\w+)`", names)) for district, names in rows} == drawing.allowed_imports()
    assert drawing.draw() == drawing.DRAWING.read_text(encoding="utf-8"), "run `python docs/drawing.py`"


def hook_examples() -> list[tuple[str, str]]:
    """The file and the text of each example in docs/hooks.md."""
    text = (ROOT / "docs/hooks.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n# src/<package>/(\w+)\.py\n(.*?)```", text, re.S)


def returned_keys(function: Callable[..., Any]) -> set[str]:
    """The text keys of the dictionary that a function returns."""
    (found,) = [node.value for node in ast.walk(reference.definition(function)) if isinstance(node, ast.Return)]
    assert isinstance(found, ast.Dict)
    return {key.value for key in found.keys if isinstance(key, ast.Constant)}


def test_the_gates_page_describes_every_key_of_a_verdict() -> None:
    text = (ROOT / "docs/gate.md").read_text(encoding="utf-8").split("## reports/verdict.json")[1].split("\n## ")[0]
    described = {key for row in re.findall(r"(?m)^\| (`[^|]+`) \|", text) for key in re.findall(r"`(\w+)`", row)}
    parts = (verdict.judge_candidate, verdict.describe_origin, verdict.build_conclusion)
    assert described == set().union(*map(returned_keys, parts))


def test_every_hook_has_an_example() -> None:
    for hook in HOOKS:
        assert any(hook.module == name and hook.name in text for name, text in hook_examples()), hook.name


def write_source(rows: pd.DataFrame, text: str) -> int:
    """Leave the rows where an example's `load` reads them, and return how many it should yield."""
    params = Path("params.yaml").read_text(encoding="utf-8")
    path = "data/raw/exports" if "glob" in text else "data/raw/query.sql"
    Path("params.yaml").write_text(params.replace("data/raw/flights.parquet", path), encoding="utf-8")
    if "glob" in text:
        Path(path).mkdir(parents=True)
        rows[:100].to_csv(f"{path}/a.csv", index=False)
        rows[100:200].to_csv(f"{path}/b.csv", index=False)
        return 200
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text("SELECT * FROM flights LIMIT 150", encoding="utf-8")
    connection = sqlite3.connect("flights.db")
    rows.to_sql("flights", connection, index=False)
    connection.close()
    return 150


@pytest.mark.parametrize(("module", "text"), hook_examples())
def test_an_example_of_a_hook_runs(module: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the whole file of a small project, on rows that are made from the schema."""
    shutil.copytree(SMALL_PROJECT, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "schema.yaml", tmp_path)
    (tmp_path / f"src/flight_delays/{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    params = Project.load().params
    rows = make_rows(read_yaml(Path("schema.yaml")), params)
    if module == "data":
        count = write_source(rows, text)
        assert len(pd.read_parquet(open_table(Project.load()))) == count
    elif module == "metrics":
        truth = (rows["distance"].to_numpy(float) > 1000).astype(int)
        late = rows["distance"].rank(pct=True).to_numpy(float)
        scores = np.column_stack([1 - late, late])
        for name in load_own_metrics("classification"):
            assert compute_difference(name, truth, scores, scores[:, ::-1]).low <= 1
    else:
        pipeline = fit_pipeline(params, select_features(params, rows), rows[params.data.target])
        save_model(pipeline, Path("model.skops"))
        load_model(Path("model.skops"))


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    pages = {path.name for path in ROOT.glob("docs/*.md")} | {"index.md", "changelog.md"}
    assert listed == pages


def test_security_names_tests_that_exist() -> None:
    named = re.findall(
        r"`((?:library|template)/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs/security.md").read_text("utf-8")
    )
    assert len(named) > 40
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"


def test_the_score_names_checks_that_exist() -> None:
    text = (ROOT / "docs/ml-test-score.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \|[^|]+\| (1|½) \|([^|]+)\|", text, re.M)
    assert len(rows) == 28
    for folder, file, name in re.findall(r"`(library|template|tests)/([\w/]+\.py)(?:::(\w+))?`", text):
        path = (PROJECT if folder == "tests" else ROOT / "tests") / folder / file
        assert f"def {name or 'test_'}" in path.read_text(encoding="utf-8"), f"{folder}/{file}::{name}"


def test_the_score_is_the_sum_of_its_rows() -> None:
    text = (ROOT / "docs/ml-test-score.md").read_text(encoding="utf-8")
    said = dict(re.findall(r"^\| (\w+) \| ([\d½]+) \|", text, re.M))
    for section in text.split("\n## ")[1:]:
        counts = re.findall(r"^\| \d \|[^|]+\| (1|½) \|", section, re.M)
        whole, half = divmod(sum(2 if count == "1" else 1 for count in counts), 2)
        assert said[section.split("\n")[0].lower()] == f"{whole}{'½' * half}"


def blocks(project: Path, template: Path) -> Iterator[str]:
    """The tutorial's blocks, with this template for the published one and a folder for GitHub."""
    hub = project.parent / "hub.git"
    run("git", "init", "--quiet", "--bare", hub, cwd=project.parent)
    for block in blocks_of(ROOT / "docs/tutorial.md"):
        here = block.replace("uvx cookiecutter gh:OWNER/mlops-template", f"{BIN}/cookiecutter {template}")
        yield here.replace("git@github.com:OWNER/flight-delays.git", str(hub))


@pytest.mark.slow
def test_the_tutorial_runs(template: Path, tmp_path: Path, bake: Callable[..., BakedProject]) -> None:
    """Every command, in order; each block in a shell that stops at the first that fails."""
    project = tmp_path / "flight-delays"
    venv = f"VENV={installed(bake())}"
    where = venv.partition("=")[2]
    env, said = {"VENV": where, "MODELYARD_VENV": where}, []
    for number, block in enumerate(blocks(project, template)):
        here = tmp_path if number == 0 else project
        said.append(run("bash", "-euc", block.replace(".venv/bin/py", "$VENV/bin/py"), cwd=here, **env).lower())
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


ROWS = "import pandas as p; f = 'data/raw/flights.parquet'; t = p.read_parquet(f)"
SAID = "p.read_parquet('logs')[['id']].assign(truth=0)"
# The recipes that run here: what each supposes, and the words that stand for something of yours.
SUPPOSED = {
    "Bring data": f'$VENV/bin/python -c "{ROWS}; t[:-500].to_parquet(f, index=False)"',
    "Add a feature": 's="table[\\"evening\\"] = table[\\"scheduled_hour\\"] ** 2"; '
    'sed -i.bak "s/^    return table$/    $s\\n    return table/" src/*/features.py; '
    "rm src/*/*.bak; export PYTEST_ADDOPTS=-ktest_features",
    "Add a slice": "sed -i.bak 's/slices: .origin/slices: [dest, origin/' params.yaml",
    "Tune": "sed -i.bak 's/trials: 20/trials: 1/' params.yaml",
    "Connect storage": "",
    "Answer an alert": "make score IN=data/holdout.parquet OUT=../said.csv LOGS=logs; "
    f"$VENV/bin/python -c \"import pandas as p; {SAID}.to_csv('truth.csv', index=False)\"",
}
YOURS = {"s3://bucket/path": "../store", "make rollback ENV=production": "true"}
# Recipes whose commands another test runs.
SHOWN = {
    "Deploy": "test_containers.py::test_what_answers_is_verified_and_audited",
    "Roll back": "test_containers.py::test_what_answers_is_verified_and_audited",
    "Merge two branches": "test_adopt.py::test_a_merge_conflict_ends_with_resolve",
    "Update the template": "test_update.py::test_make_update_says_what_is_new",
}


def recipes(page: Path) -> dict[str, str]:
    """The commands of each section of a page that has some."""
    sections = page.read_text(encoding="utf-8").split("\n## ")[1:]
    found = {part.split("\n")[0]: re.findall(r"```sh\n(.*?)```", part, re.S) for part in sections}
    return {title: "".join(blocks) for title, blocks in found.items() if blocks}


def test_every_recipe_is_run() -> None:
    assert {*recipes(ROOT / "docs/howto.md")} == {*SUPPOSED, *SHOWN}
    for file, name in (shown.split("::") for shown in SHOWN.values()):
        assert f"def {name}" in (ROOT / "tests" / "template" / file).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("title", SUPPOSED)
def test_a_recipe_runs(title: str, trained: BakedProject, environment: Path, tmp_path: Path) -> None:
    """As it is written, in a project whose model was trained."""
    block, project = recipes(ROOT / "docs/howto.md")[title], trained.copied(tmp_path / "project")
    for words, here in YOURS.items():
        block = block.replace(words, here)
    env = {"VENV": str(environment), "MODELYARD_VENV": str(environment), "MODELYARD_TRACK": "0"}
    run("bash", "-euc", f"{SUPPOSED[title]}\n{block}", cwd=project.path, **env)
    assert not project.run("git", "diff", "--name-only", "--diff-filter=U")


def test_the_readme_counts_what_is_rendered(bake: Bake) -> None:
    """Files and lines outside packages/, data and pins, to a twentieth."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files, lines = (int(number.replace(",", "")) for number in re.findall(r"(\d+) files and ([\d,]+) lines", text)[0])
    project = bake()
    names = project.run("git", "ls-files").split("\n")
    pinned = re.compile(r"packages/|data/|requirements/\w+\.txt$|$")
    own = [name for name in names if not pinned.match(name)]
    assert len(own) == pytest.approx(files, rel=0.05)
    assert sum(project.read(name).count("\n") for name in own) == pytest.approx(lines, rel=0.05)


@pytest.mark.slow
def test_the_notebook_runs(trained: BakedProject, environment: Path, tmp_path: Path) -> None:
    """Its cells, in a project whose model was trained."""
    project = trained.copied(tmp_path / "project")
    found = f"{project.path}/packages/modelyard/src:{project.path}/src"  # which an own environment has installed
    project.run(environment / "bin/jupyter", "execute", "notebooks/explore.ipynb", PYTHONPATH=found)


@pytest.mark.slow
def test_the_readmes_five_lines_run(bake: Bake, environment: Path, trained: BakedProject, tmp_path: Path) -> None:
    """For a table at home, with an editor that changes the seed."""
    project, home = bake().copied(tmp_path / "project"), tmp_path / "home"
    home.mkdir()
    at = str(trained.path / "data/raw")
    write = f"{ROWS.replace('data/raw', at)}; t = t[::5].rename(columns={{'late': 'column'}})"
    write += "; t.to_csv('table.csv', index=False)"
    run(environment / "bin/python", "-c", write, cwd=home)
    run("git", "init", "--quiet", "--bare", tmp_path / "hub.git", cwd=tmp_path)
    (block,) = [b for b in blocks_of(ROOT / "README.md") if "make adopt" in b]
    block = block.replace("git@github.com:OWNER/flight-delays.git", str(tmp_path / "hub.git"))
    env = {"HOME": str(home), "MODELYARD_VENV": str(environment), "MODELYARD_TRACK": "0"}
    env["EDITOR"] = r"sed -i.bak s/^seed:.*/seed:\x201/"
    said = run("bash", "-euc", block, cwd=project.path, **env)
    assert "Better than the dummy model" in said and "the champion" in said, said
    assert run("git", "log", "--format=%s", "better", cwd=tmp_path / "hub.git").startswith("An idea")
