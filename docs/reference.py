"""Writes docs/reference.md from the code (`make files`), and lays out the site (`make docs`)."""

import ast
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from modelyard.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = next(ROOT.glob("{{*"))
LIBRARY = ROOT / "packages/modelyard"
PACKAGE = LIBRARY / "src/modelyard"
PAGE = ROOT / "docs/reference.md"
SITE = ROOT / "build/docs"
# What schema.yaml may say; a word that the shipped one uses and that is not here stops the page.
SCHEMA = {
    "schema_type": "always `dataframe`: the file is pandera's own form",
    "api": "always `pandas`",
    "columns": "the columns by name; each has the keys below",
    "strict": "whether other columns are refused",
    "coerce": "whether values are turned into the type",
    "unique": "columns that together are the key of a row",
    "dtype": "the type: `int64`, `float64`, `str`, `bool`, `datetime64[us]`",
    "nullable": "`true`: the value may be missing",
    "personal": "`true`: no log, report or image shows a value of it; `false`: a name or a value only looks so",
    "isin": "the list of allowed values",
    "notin": "the list of refused values",
    "equal_to": "the one allowed value",
    "not_equal_to": "the one refused value",
    "greater_than": "what every value is above",
    "less_than": "what every value is below",
    "in_range": "`min_value` and `max_value`, both allowed",
    "greater_than_or_equal_to": "the smallest allowed value",
    "less_than_or_equal_to": "the largest allowed value",
    "str_matches": "a regular expression from the start of the text on",
    "str_contains": "a regular expression somewhere in the text",
    "str_startswith": "how the text begins",
    "str_endswith": "how the text ends",
    "str_length": "`min_value` and `max_value` of the text's length",
}


def plain(text: str) -> str:
    """A template file as the defaults render it, as far as this page reads it."""
    kept = [line for line in text.splitlines() if not line.startswith("{%")]
    return "\n".join(kept).replace("{{cookiecutter.__package}}", "flight_delays")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of Markdown; a stroke in a cell is escaped."""
    cells = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def tree(module: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(module.read_text(encoding="utf-8"))


def sentence(node: ast.Module | ast.ClassDef) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())


def options(verb: str) -> str:
    """The variables that a verb takes: the parameters of its `main`, with their defaults."""
    module = PACKAGE / f"{COMMANDS.get(verb, '').partition(':')[0].replace('.', '/')}.py"
    body = tree(module).body if module.exists() else []
    for node in (node for node in body if isinstance(node, ast.FunctionDef) and node.name == "main"):
        values = [ast.literal_eval(default) for default in node.args.defaults]
        values = [None] * (len(node.args.args) - len(values)) + values
        names = [one.arg.rstrip("_").upper() for one in node.args.args]
        said = zip(names, values, strict=True)
        return " ".join(f"`{name}={int(x) if isinstance(x, bool) else x or ''}`" for name, x in said)
    return ""


def verbs() -> Iterator[str]:
    """A table of verbs for each group of `make help`."""
    makefiles = [(LIBRARY / name).read_text(encoding="utf-8") for name in ("project.mk", "service.mk")]
    for group in "".join(makefiles).split("\n## ")[1:]:
        name, _, body = group.partition("\n")
        rows = re.findall(r"(?m)^([a-z-]+):.*## (.*)$", body)
        yield f"### {name}\n\n" + table(
            ("`make` …", "what it does", "variables"),
            ((f"`{verb}`", said, options(verb)) for verb, said in rows),
        )


def parameter_notes(node: ast.ClassDef) -> dict[str, str]:
    """The section Parameters of a class's docstring, by name."""
    section = (ast.get_docstring(node) or "").partition("----------\n")[2]
    entries = re.findall(r"(?m)^(\w+)\n((?:    .*\n?)+)", section)
    return {name: " ".join(text.split()) for name, text in entries}


def parameters() -> Iterator[str]:
    """Each block of params.yaml: what ships with its comment, then the keys that only have a default."""
    shipped = plain((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    text = re.split(r"(?m)^(?=\w)", shipped)
    blocks = {part.split(":")[0]: part.rstrip() for part in text if part.strip()}
    for node in tree(PACKAGE / "core/params.py").body:
        word = node.name.lower().removesuffix("params") if isinstance(node, ast.ClassDef) else ""
        if word not in blocks or not isinstance(node, ast.ClassDef):
            continue
        notes = parameter_notes(node)
        more = [
            (
                f"`{field.target.id}`",
                f"`{ast.unparse(field.annotation)}`",
                f"`{ast.unparse(field.value)}`",
                notes[field.target.id],
            )
            for field in node.body
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and field.value
            if f"{field.target.id}:" not in blocks[word]
        ]
        further = "\n\n" + table(("further key", "type", "default", "what"), more) if more else ""
        yield f"### {word}\n\n{sentence(node)}\n\n```yaml\n{blocks[word]}\n```{further}"


def schema() -> str:
    """A table of what schema.yaml may say."""
    found = yaml.safe_load((PROJECT / "schema.yaml").read_text(encoding="utf-8"))
    used = set(found) | {key for column in found["columns"].values() for key in column}
    if unknown := used - set(SCHEMA):
        raise SystemExit(f"docs/reference.py does not describe {', '.join(sorted(unknown))} of schema.yaml")
    return table(("key", "what"), ((f"`{key}`", said) for key, said in SCHEMA.items()))


def called(about: dict[str, Any]) -> Iterator[str]:
    """The tables of a reusable workflow's inputs and outputs."""
    inputs = about.get("inputs", {}).items()
    rows = [
        (
            f"`{k}`",
            v["type"],
            f"`{v['default']}`" if v.get("default", "") != "" else "",
            v["description"],
        )
        for k, v in inputs
    ]
    yield table(("input", "type", "default", "what"), rows)
    if outputs := about.get("outputs"):
        yield table(("output", "what"), ((f"`{k}`", v["description"]) for k, v in outputs.items()))
    if secrets := about.get("secrets"):
        yield table(("secret", "what"), ((f"`{k}`", v["description"]) for k, v in secrets.items()))


def workflows() -> Iterator[str]:
    """The inputs and outputs of each workflow that is called."""
    for path in sorted((PROJECT / ".github/workflows").glob("*.yml")):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        events = found[True]  # YAML 1.1 reads the key `on` so
        if "workflow_call" in events:
            yield f"### {path.name}\n\n" + "\n\n".join(called(events["workflow_call"]))


def modules() -> str:
    """A table of the library's modules, district by district."""
    found = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE and path.stem != "__init__")
    rows = ((f"`{path.relative_to(PACKAGE)}`", sentence(tree(path))) for path in found)
    return table(("module", "what it is"), rows)


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nWritten by `make files` from the code; a test holds that it is current.",
        "## Verbs\n\nOptions: `make gate BASE=main`, or in the environment as `MODELYARD_BASE`.",
        *verbs(),
        "## params.yaml",
        *parameters(),
        f"## schema.yaml\n\nEvery row keeps it: in the pipeline, in the service, in monitoring.\n\n{schema()}",
        "## Workflows\n\nThose that are called; [Workflows](workflows.md) has the others, and a call to copy.",
        *workflows(),
        f"## Files\n\nThe library's modules, under `packages/modelyard/src/modelyard`.\n\n{modules()}",
    ]
    return "\n\n".join(parts) + "\n"


def site() -> None:
    """Lay out build/docs: the README first, these pages, the changelog; other links become names."""
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.copytree(PAGE.parent, SITE, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    for name, source in {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        (SITE / name).write_text(text, encoding="utf-8")
    outside = r"\[`?([^\]`]+)`?\]\((?:\.\./|\.github|LICENSE|benchmarks|tests)[^)]*\)"
    for path in SITE.glob("*.md"):
        text = re.sub(r"\]\((?:\.\./)?CHANGELOG\.md", "](changelog.md", path.read_text(encoding="utf-8"))
        path.write_text(re.sub(outside, r"`\1`", text), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["site"]:
        site()
    else:
        PAGE.write_text(page(), encoding="utf-8")
