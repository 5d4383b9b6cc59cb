"""The template that made a project: its address and commit, what is new in it, and the projects that it renders."""

import json
import re
import shlex
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.core.console import print_line, print_result
from modelyard.core.errors import InvalidFileError, ToolError, UserError
from modelyard.core.files import atomic_write
from modelyard.core.process import last_error_line, run_git, run_process
from modelyard.workspace.confirm import confirm
from modelyard.workspace.library import LIBRARY

CRUFT_FILE = Path(".cruft.json")  # cruft's own file, so that `cruft diff` works too
COOKIECUTTER = "cookiecutter>=2.6,<3"
COMMIT_PATTERN = re.compile("[0-9a-f]{7,64}")
EXPRESSION_PATTERN = re.compile(r"\{\{|\{%")  # cookiecutter renders answers too, so that these would run as code
ACCEPTED_ADDRESS = "modelyard.template"  # a setting of this clone: no branch that is merged can change it
DEFAULT_BRANCH = "refs/modelyard/default"  # in a clone of the template, what its default branch was
MAX_ENTRIES_SHOWN = 10


class TemplateAddressError(UserError):
    """The template's address in .cruft.json is new to this clone, and the person who was asked did not accept it."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{CRUFT_FILE} names another template, {address}; correct the address there")
        self.address = address


class TemplateCommitError(UserError):
    """A commit of the template is not on its default branch, and the person who was asked did not accept it."""

    def __init__(self, commit: str) -> None:
        super().__init__(f"{commit[:9]} is not on the template's default branch; correct {CRUFT_FILE}, or TO")
        self.commit = commit


class RenderedProject(NamedTuple):
    """Two git trees of a rendered project, its files where they lie in this repository.

    Attributes
    ----------
    whole
        All files.
    own
        The files outside the library, which a project's owner may change.
    """

    whole: str
    own: str


@dataclass
class TemplateState:
    """What .cruft.json holds about the template that made this project."""

    content: dict[str, Any]

    @classmethod
    def load(cls) -> "TemplateState":
        """Read .cruft.json.

        Raises
        ------
        InvalidFileError
            If it is missing, is not JSON, lacks the template's address or commit, or has an answer that would run.
        """
        text = CRUFT_FILE.read_text(encoding="utf-8") if CRUFT_FILE.exists() else "{}"
        cure = "restore the file with git, or write both there"
        try:
            state = cls(json.loads(text))
            complete = bool(state.address and COMMIT_PATTERN.fullmatch(state.commit) and state.answers)
        except (ValueError, TypeError, KeyError, AttributeError):
            complete = False
        if not complete:
            raise InvalidFileError(CRUFT_FILE, "does not name the template and the commit that made this", cure)
        if any(EXPRESSION_PATTERN.search(answer) for answer in list_given_answers(state.answers)):
            raise InvalidFileError(CRUFT_FILE, "has an answer with {{ or {%, which would run as code", "remove them")
        return state

    @property
    def address(self) -> str:
        """The template's address."""
        return str(self.content["template"])

    @property
    def commit(self) -> str:
        """The template's commit that the project follows."""
        return str(self.content["commit"])

    @property
    def answers(self) -> dict[str, Any]:
        """The answers to the template's questions."""
        answers: dict[str, Any] = self.content["context"]["cookiecutter"]
        return answers

    @property
    def branch(self) -> str:
        """The branch, tag or commit of the template to follow."""
        return str(self.content.get("checkout") or "HEAD")

    def confirm_address(self, yes: bool) -> None:
        """Show the template's address and commit; ask for an address that was never accepted in this clone.

        Parameters
        ----------
        yes
            Whether the address is accepted without being asked for.

        Raises
        ------
        ConfirmationError
            If nobody can be asked.
        TemplateAddressError
            If the address is not accepted.
        """
        print_result("template", f"{self.address} at {self.commit[:9]}")
        accepted = run_process(["git", "config", "--local", "--get-all", ACCEPTED_ADDRESS]).stdout.splitlines()
        if self.address in accepted:
            return
        known = ", ".join(accepted) or "none"
        print_line(f"{'':<10}accepted in this clone so far: {known}; a template runs code on this machine")
        if not confirm("update", "the template's address", "Take the update from there?", yes):
            raise TemplateAddressError(self.address)
        run_git("config", "--local", "--add", ACCEPTED_ADDRESS, self.address)

    def save(self, commit: str) -> None:
        """Write .cruft.json for a project that now follows this commit of the template."""
        self.answers.update({"_commit": commit, "_template": self.address})
        text = json.dumps(self.content | {"commit": commit}, ensure_ascii=False, indent=2)
        with atomic_write(CRUFT_FILE) as draft:
            draft.write_text(text + "\n", encoding="utf-8")


@contextmanager
def clone_template(state: TemplateState, revision: str) -> Iterator[Path]:
    """Clone the template into a temporary folder, at a revision or else at the newest that the project follows."""
    with tempfile.TemporaryDirectory(prefix="update-") as folder:
        clone = Path(folder, "template")
        run_git("clone", "--quiet", "--", state.address, str(clone))
        run_git("update-ref", DEFAULT_BRANCH, "HEAD", cwd=clone)
        wanted = revision or state.branch
        if wanted.startswith("-"):
            raise UserError(f"{wanted} is no revision of the template; give a branch, a tag or a commit")
        run_git("checkout", "--quiet", wanted, "--", cwd=clone)
        yield clone


def confirm_commit(template: Path, commit: str, yes: bool) -> None:
    """Ask for a commit that is not on the default branch of the template, whose owners did not merge it then.

    Parameters
    ----------
    template
        A clone of the template.
    commit
        The commit whose hooks are to run.
    yes
        Whether it is accepted without being asked for.

    Raises
    ------
    ConfirmationError
        If nobody can be asked.
    TemplateCommitError
        If the commit is not accepted.
    """
    if not run_process(["git", "merge-base", "--is-ancestor", commit, DEFAULT_BRANCH], cwd=template).returncode:
        return
    print_line(f"{'':<10}{commit[:9]} is not on the template's default branch; its hooks would run on this machine")
    if not confirm("update", f"the template's commit {commit[:9]}", "Run them?", yes):
        raise TemplateCommitError(commit)


def list_changelog_entries(template: Path, old: str, new: str) -> list[str]:
    """Return the entries that the template's CHANGELOG.md gained between two commits, each on one line."""
    lines = run_git("diff", "--unified=0", old, new, "--", "CHANGELOG.md", cwd=template).splitlines()
    added = "\n".join(line[1:] for line in lines if line.startswith("+") and not line.startswith("+++"))
    return [" ".join(entry.split()) for entry in re.findall(r"(?m)^- (.*(?:\n  .*)*)", added)]


def print_changelog_entries(entries: list[str]) -> None:
    """Print the first entries, shortened to a line each, and how many more there are."""
    for entry in entries[:MAX_ENTRIES_SHOWN]:
        print_result("new", textwrap.shorten(entry, 110, placeholder=" …"))
    if len(entries) > MAX_ENTRIES_SHOWN:
        print_line(f"{'':<10}and {len(entries) - MAX_ENTRIES_SHOWN} more in its CHANGELOG.md")


def find_cookiecutter(command: str) -> list[str]:
    """Return the words that start cookiecutter: those of a command, the one on PATH, or a fresh one through uv."""
    if command:
        return shlex.split(command)
    if installed := shutil.which("cookiecutter"):
        return [installed]
    uv = shutil.which("uv") or ".uv/bin/uv"
    return [uv, "tool", "run", "--from", COOKIECUTTER, "cookiecutter"]


def list_given_answers(answers: dict[str, Any]) -> list[str]:
    """Return the answers as cookiecutter takes them, without those that the template derives."""
    return [f"{question}={answer}" for question, answer in answers.items() if not question.startswith("_")]


def render_template(
    template: Path, commit: str, answers: dict[str, Any], folder: Path, cookiecutter: str = ""
) -> RenderedProject:
    """Render a project from a commit of the template and store its files in this repository.

    Parameters
    ----------
    template
        A clone of the template.
    commit
        The commit to render from.
    answers
        The answers to the template's questions.
    folder
        An empty or missing folder to work in.
    cookiecutter
        The command that starts cookiecutter; empty for the default.

    Returns
    -------
    RenderedProject
        Its git trees.

    Raises
    ------
    ToolError
        If the template does not render.
    """
    run_git("checkout", "--quiet", "--detach", commit, cwd=template)
    options = ["--no-input", "--default-config", "-o", str(folder), str(template), "--"]
    command = [*find_cookiecutter(cookiecutter), *options, *list_given_answers(answers)]
    done = run_process(command)
    if done.returncode:
        raise ToolError("cookiecutter", f"the template at {commit[:9]} does not render: {last_error_line(done.stderr)}")
    project = folder / answers["project_slug"]
    shutil.rmtree(project / ".git", ignore_errors=True)
    (project / CRUFT_FILE).unlink(missing_ok=True)
    return store_project(project, folder / "index")


def store_project(project: Path, index: Path) -> RenderedProject:
    """Write a rendered project's files into this repository's objects, by an index of their own."""
    git_folder = run_git("rev-parse", "--absolute-git-dir")
    prefix = run_git("rev-parse", "--show-prefix")

    env = {"GIT_DIR": git_folder, "GIT_WORK_TREE": str(project), "GIT_INDEX_FILE": str(index)}

    def run_on_index(*arguments: str) -> str:
        return run_git(*arguments, cwd=project, env=env)

    def write_tree() -> str:
        tree = run_on_index("write-tree")
        if not prefix:
            return tree
        run_on_index("read-tree", "--empty")
        run_on_index("read-tree", f"--prefix={prefix}", tree)
        moved = run_on_index("write-tree")
        run_on_index("read-tree", tree)
        return moved

    run_on_index("add", "--all", ".")
    whole = write_tree()
    run_on_index("rm", "-r", "--cached", "--quiet", "--ignore-unmatch", "--", str(LIBRARY))
    return RenderedProject(whole, write_tree())
