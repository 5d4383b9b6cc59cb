"""Workflow files as data: what starts them, what they use, what each job's token may do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

RIGHTS = ("actions", "contents", "id-token", "issues", "packages", "pull-requests", "statuses")
TOKEN = re.compile(r"\b(github\.token|secrets\.GITHUB_TOKEN)\b")


class Loader(yaml.SafeLoader):
    """YAML as GitHub reads it: `on` is a word, not a truth value."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if not tag.endswith(":bool")]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), list("tf"))


def load(path: Path) -> Any:
    """A workflow, an action or another YAML file."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def sources(tree: Path) -> Iterator[Path]:
    """What GitHub runs of a repository: its workflows, and the actions that it carries in packages/."""
    for pattern in (".github/**/*.y*ml", "packages/*/actions/*/action.yml"):
        yield from sorted(tree.glob(pattern))


def events(workflow: dict[str, Any]) -> dict[str, Any]:
    """The events of `on:` in its long form."""
    on = workflow["on"]
    return {on: None} if isinstance(on, str) else dict.fromkeys(on) if isinstance(on, list) else on


def matches(patterns: list[str] | str, values: list[str]) -> list[bool]:
    """For each value whether one of GitHub's glob patterns fits."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    rules = [("**/", "(.*/)?"), ("**", ".*"), ("*", "[^/]*")]
    globs = [re.escape(pattern) for pattern in patterns]
    for sign, expression in rules:
        globs = [glob.replace(re.escape(sign), expression) for glob in globs]
    return [any(re.fullmatch(glob, value) for glob in globs) for value in values]


def triggered(workflow: dict[str, Any], event: str, payload: dict[str, Any], ref: str, changed: list[str]) -> bool:
    """Whether `on:` lets this event start the workflow; act knows neither types nor branches."""
    if event not in (on := events(workflow)) or not isinstance(filters := on[event], dict):
        return event in on
    pull = payload.get("pull_request")
    branch = pull["base"]["ref"] if pull else ref.removeprefix("refs/heads/")
    tests = {
        "types": lambda wanted: payload.get("action") in wanted,
        "branches": lambda wanted: any(matches(wanted, [branch])),
        "branches-ignore": lambda wanted: not any(matches(wanted, [branch])),
        "paths": lambda wanted: any(matches(wanted, changed)),
        "paths-ignore": lambda wanted: not all(matches(wanted, changed)),
        "workflows": lambda wanted: payload["workflow_run"]["name"] in wanted,
    }
    return all(tests[key](wanted) for key, wanted in filters.items() if key in tests)


def actions(node: Any) -> Iterator[str]:
    """Every `owner/name[/path]@ref` that a parsed workflow uses."""
    if isinstance(node, dict) and isinstance(node.get("uses"), str) and "@" in node["uses"]:
        yield node["uses"]
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from actions(child)


def rights(workflow: dict[str, Any], job: dict[str, Any], fork: bool = False) -> dict[str, str]:
    """What a job's token may do: its own block or else the workflow's; a fork's only reads."""
    given = job.get("permissions", workflow.get("permissions", "write-all"))
    if isinstance(given, str):
        given = dict.fromkeys(RIGHTS, given.removesuffix("-all"))
    return {name: "read" if fork else right for name, right in given.items() if right != "none"}


def replace(node: Any, token: str) -> Any:
    """A parsed job with `github.token` and `secrets.GITHUB_TOKEN` replaced by its own token."""
    if isinstance(node, dict):
        return {key: replace(value, token) for key, value in node.items()}
    if isinstance(node, list):
        return [replace(value, token) for value in node]
    return TOKEN.sub(f"'{token}'", node) if isinstance(node, str) else node


def plant(path: Path, fork: bool = False) -> dict[str, dict[str, str]]:
    """Give every job of a file a token of its own, as GitHub does; say what each may do."""
    workflow, tokens = load(path), {}
    workflow.pop("cache-mode", None)  # act does not know it yet
    for name, job in workflow.get("jobs", {}).items():
        token = f"token:{path.stem}/{name}"
        tokens[token] = rights(workflow, job, fork)
        workflow["jobs"][name] = replace(job, token)
    path.write_text(yaml.safe_dump(workflow, sort_keys=False, width=10_000), encoding="utf-8")
    return tokens
