"""Writes docs/reference.md and docs/api.md from the code (`make files`), and lays out the site (`make docs`)."""

import ast
import importlib
import inspect
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

import modelyard
from modelyard import defaults, testing
from modelyard.cli import COMMANDS
from modelyard.core import hooks
from modelyard.testing import checks

ROOT = Path(__file__).resolve().parents[1]
PROJECT = next(ROOT.glob("{{*"))
LIBRARY = ROOT / "packages/modelyard"
PACKAGE = LIBRARY / "src/modelyard"
PAGE = ROOT / "docs/reference.md"
API = ROOT / "docs/api.md"
LINE = 88  # of a signature
SITE = ROOT / "build/docs"
# What schema.yaml may say; a word that the shipped one uses and that is not here stops the page.
SCHEMA = {
    "schema_type": "always `dataframe`: the file is pandera's own form",
    "api": "always `pandas`",
    "columns": "the columns by name, each with the keys below",
    "strict": "whether other columns are refused",
    "coerce": "whether values are converted to the type",
    "unique": "the columns that together identify a row",
    "dtype": "the type: `int64`, `float64`, `str`, `bool`, `datetime64[us]`",
    "nullable": "`true`: the value may be missing",
    "personal": "`true`: no log, report or image shows a value; `false`: the column only looks personal",
    "isin": "the list of allowed values",
    "notin": "the list of refused values",
    "equal_to": "the one allowed value",
    "not_equal_to": "the one refused value",
    "greater_than": "a number below every value",
    "less_than": "a number above every value",
    "in_range": "`min_value` and `max_value`, both allowed",
    "greater_than_or_equal_to": "the smallest allowed value",
    "less_than_or_equal_to": "the largest allowed value",
    "str_matches": "a regular expression that matches from the start of the text",
    "str_contains": "a regular expression that matches somewhere in the text",
    "str_startswith": "the beginning of the text",
    "str_endswith": "the end of the text",
    "str_length": "`min_value` and `max_value` of the length",
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


def sentence(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
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
            ("`make` …", "what it does", "options and defaults"),
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
    """A table of the keys of schema.yaml."""
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
    return table(("module", "purpose"), rows)


def page() -> str:
    """The whole page."""
    parts = [
        "# Reference\n\nWritten by `make files` from the code; a test checks that it is current.",
        "## Verbs\n\nAn option stands behind the verb, as in `make gate BASE=main`, or in a variable `MODELYARD_BASE`.",
        *verbs(),
        "## params.yaml",
        *parameters(),
        f"## schema.yaml\n\nThe rules of a row, in the pipeline, in the service and in monitoring.\n\n{schema()}",
        "## Workflows\n\nInputs and outputs of the reusable ones; [Workflows](workflows.md) shows how to call them.",
        *workflows(),
        "## Modules\n\nThe library's modules, under `packages/modelyard/src/modelyard`, district by district "
        f"([Architecture](architecture.md)).\n\n{modules()}",
    ]
    return "\n\n".join(parts) + "\n"


Definition = ast.FunctionDef | ast.ClassDef
PROTOCOLS = {
    "load": hooks.LoadHook,
    "features": hooks.FeaturesHook,
    "make_estimator": hooks.EstimatorHook,
    "make_preprocessor": hooks.PreprocessorHook,
}


def definition(thing: Any) -> Definition:
    """The syntax tree of a class or a function."""
    node = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    return node


def fields(node: ast.ClassDef) -> list[ast.AnnAssign]:
    """The fields of a dataclass, in their order."""
    return [one for one in node.body if isinstance(one, ast.AnnAssign)]


def constructor(node: ast.ClassDef) -> ast.FunctionDef | None:
    """The `__init__` that a class writes itself; a dataclass has none."""
    return next((one for one in node.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"), None)


def arguments(node: Definition) -> dict[str, str]:
    """The types of what a function or a class takes, by name."""
    called = constructor(node) if isinstance(node, ast.ClassDef) else node
    if called is None:
        return {ast.unparse(one.target): ast.unparse(one.annotation) for one in fields(node)}
    taken = [*called.args.posonlyargs, *called.args.args, *called.args.kwonlyargs]
    return {one.arg: ast.unparse(one.annotation).strip("'") for one in taken if one.annotation}


def signature(name: str, node: Definition) -> str:
    """How it is called, with types."""
    called = constructor(node) if isinstance(node, ast.ClassDef) else node
    if called is None:
        return f"class {name}({', '.join(ast.unparse(one) for one in fields(node))})"
    taken = re.sub(r"^(self|cls)(, )?", "", ast.unparse(called.args))
    taken = re.sub(r"(?<=[\w\]'])=(?=\S)", " = ", taken)
    if isinstance(node, ast.ClassDef):
        return f"class {name}({taken})"
    returned = ast.unparse(node.returns).strip("'") if node.returns else "None"
    return f"{name}({taken}) -> {returned}"


def wrapped(called: str) -> str:
    """A signature, one argument to a line where it is long."""
    head, opened, rest = called.partition("(")
    taken, closed, returned = rest.rpartition(")")
    if len(called) <= LINE:
        return called
    split = re.split(r", (?=\*|\w+: )", taken)
    return f"{head}{opened}\n" + "".join(f"    {one},\n" for one in split) + f"{closed}{returned}"


def entries(section: str) -> list[tuple[str, str]]:
    """The names and the texts of a section such as Parameters."""
    found = re.findall(r"(?m)^(\S.*)\n((?:[ ]{4}.*\n?|\n)+)", section)
    return [(name, " ".join(text.split())) for name, text in found]


def docstring(node: Definition) -> Iterator[str]:
    """The parts of a NumPy docstring as Markdown: its text, then a table or a list for each section."""
    head, *rest = re.split(r"(?m)^(\w[\w ]*)\n-{3,}\n", ast.get_docstring(node) or "")
    yield head.strip()
    for title, section in zip(rest[::2], rest[1::2], strict=True):
        if title == "Parameters":
            types = arguments(node)
            rows = ((f"`{name}`", f"`{types[name]}`" if name in types else "", text) for name, text in entries(section))
            yield table(("parameter", "type", "what"), rows)
        elif title == "Examples":
            yield "```python\n" + section.strip().replace("  # doctest: +SKIP", "") + "\n```"
        else:
            yield f"**{title}**\n\n" + "\n".join(f"- `{name}`: {text}" for name, text in entries(section))


def described(name: str, node: Definition, title: str = "") -> str:
    """A heading, the signature and the docstring of a class or a function."""
    parts = [f"### `{title or name}`", f"```python\n{wrapped(signature(name, node))}\n```", *docstring(node)]
    return "\n\n".join(parts)


def methods(name: str, node: ast.ClassDef) -> Iterator[str]:
    """The public methods and properties of a class, in a list."""
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
            is_property = any("property" in ast.unparse(decorator) for decorator in one.decorator_list)
            called = one.name if is_property else signature(one.name, one)
            yield f"- `{called}`: {sentence(one)}"


def public(name: str) -> str:
    """The section of one name of `modelyard.__all__`."""
    found = getattr(modelyard, name)
    if isinstance(found, int | str):
        notes = {
            "PROTOCOL": "The version of the commands `predict`, `train` and `smoke`, which other versions call.",
            "__version__": "The version of the library.",
        }
        return f"### `{name}`\n\n`{found!r}`. {notes[name]}"
    node = definition(found)
    text = described(name, node)
    listed = "\n".join(methods(name, node)) if isinstance(node, ast.ClassDef) else ""
    return f"{text}\n\n{listed}" if listed else text


def hook(name: str, protocol: type) -> str:
    """The section of one hook: the call of its Protocol."""
    (call,) = [one for one in definition(protocol).body if isinstance(one, ast.FunctionDef)]
    return described(name, call)


def api() -> str:
    """The page with the library's public names, from their docstrings."""
    own = [(name, getattr(defaults, name)) for name in defaults.__all__]
    helpers = [(name, getattr(testing, name)) for name in testing.__all__]
    listed = ((f"`{name}`", sentence(definition(getattr(checks, name)))) for name in checks.__all__)
    sample = definition(importlib.import_module("modelyard.testing.samples").SampleModel)
    parts = [
        "# API reference\n\nWritten by `make files` from the docstrings; a test checks that it is current. What is not "
        "on this page is private and may change. [Hooks](hooks.md) shows each hook with an example.",
        "## modelyard",
        *(public(name) for name in modelyard.__all__),
        "## Hooks\n\nThe functions in `src/<package>/` that the library calls; the Protocols are in "
        "`modelyard.core.hooks`. `TRUSTED_TYPES` is a set of names of types, `METRICS` a list of `Metric`.",
        *(hook(name, protocol) for name, protocol in PROTOCOLS.items()),
        "## modelyard.defaults\n\n"
        + sentence(tree(PACKAGE / "defaults.py"))
        + " `TRUSTED_TYPES` and `METRICS` are empty.",
        *(described(name, definition(value), f"defaults.{name}") for name, value in own if inspect.isfunction(value)),
        "## modelyard.testing\n\n" + sentence(tree(PACKAGE / "testing/__init__.py")),
        *(described(name, definition(value)) for name, value in helpers if inspect.isfunction(value)),
        described("SampleModel", sample) + "\n\n" + "\n".join(methods("SampleModel", sample)),
        "### checks\n\n" + sentence(tree(PACKAGE / "testing/checks.py")) + "\n\n" + table(("check", "what"), listed),
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
        API.write_text(api(), encoding="utf-8")
