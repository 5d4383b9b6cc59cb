import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelyard.core.errors import InvalidFileError, ToolError, UserError
from modelyard.core.process import run_git
from modelyard.workspace import template
from modelyard.workspace.confirm import ConfirmationError
from modelyard.workspace.template import CRUFT_FILE, TemplateAddressError, TemplateCommitError, TemplateState

STATE = {
    "template": "https://example.org/template",
    "commit": "a" * 40,
    "checkout": None,
    "context": {"cookiecutter": {"project_slug": "flights", "_template": "https://example.org/template"}},
}


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_git("init", "--quiet", "--initial-branch", "main")
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")


def commit_changelog(text: str) -> None:
    Path("CHANGELOG.md").write_text(text, encoding="utf-8")
    run_git("add", "--all")
    run_git("commit", "--quiet", "--message", "a")


def test_changelog_entries_are_those_that_were_added() -> None:
    commit_changelog("# Changelog\n\n- One\n  thing.\n")
    commit_changelog("# Changelog\n\n- Another\n  thing.\n- One\n  thing.\n")
    assert template.list_changelog_entries(Path(), "HEAD~1", "HEAD") == ["Another thing."]


def test_changelog_entries_beyond_the_tenth_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    template.print_changelog_entries([f"Entry {number}." for number in range(13)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and lines[-1].strip() == "and 3 more in its CHANGELOG.md"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        "{}",
        json.dumps(STATE | {"commit": None}),
        json.dumps(STATE | {"commit": "--upload-pack=x"}),
        json.dumps(STATE | {"template": ""}),
        json.dumps(STATE | {"context": None}),
        json.dumps(STATE | {"context": {"cookiecutter": {"author": "{{ cycler.__init__.__globals__.os }}"}}}),
        json.dumps(STATE | {"context": {"cookiecutter": {"author": ["{% set x = 1 %}"]}}}),
    ],
)
def test_load_refuses_a_template_that_is_not_known(content: str | None) -> None:
    if content is not None:
        CRUFT_FILE.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidFileError) as error:
        TemplateState.load()
    assert error.value.path == CRUFT_FILE


def test_save_records_commit_and_address() -> None:
    CRUFT_FILE.write_text(json.dumps(STATE | {"template": "https://example.org/new"}), encoding="utf-8")
    TemplateState.load().save("b" * 40)
    state = TemplateState.load()
    assert state.commit == state.answers["_commit"] == "b" * 40
    assert state.answers["_template"] == "https://example.org/new"


def test_address_and_commit_are_shown_and_asked_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    TemplateState(STATE).confirm_address(yes=True)
    TemplateState(STATE).confirm_address(yes=False)
    assert capsys.readouterr().out.count("https://example.org/template at aaaaaaaaa") == 2


def test_address_that_changed_is_asked_for_whatever_the_file_says_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    TemplateState(STATE).confirm_address(yes=True)
    forged = json.loads(json.dumps(STATE).replace("example.org", "example.com"))
    with pytest.raises(ConfirmationError, match="make update YES=1"):
        TemplateState(forged).confirm_address(yes=False)


def test_address_that_is_not_accepted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    with pytest.raises(TemplateAddressError) as error:
        TemplateState(STATE | {"template": "https://example.org/other"}).confirm_address(yes=False)
    assert error.value.address == "https://example.org/other"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """A clone of a template that has a commit on another branch too."""
    for branch in ("main", "other"):
        run_git("checkout", "--quiet", "-B", branch)
        commit_changelog(f"# {branch}\n")
    run_git("checkout", "--quiet", "main")
    with template.clone_template(TemplateState(STATE | {"template": str(tmp_path)}), "other") as folder:
        yield folder


def test_commit_on_the_default_branch_is_not_asked_for(clone: Path) -> None:
    template.confirm_commit(clone, run_git("rev-parse", "main"), yes=False)


def test_commit_of_another_branch_is_asked_for(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    commit = run_git("rev-parse", "other")
    template.confirm_commit(clone, commit, yes=True)
    with pytest.raises(TemplateCommitError) as error:
        template.confirm_commit(clone, commit, yes=False)
    assert error.value.commit == commit


def test_an_answer_is_no_option_of_cookiecutter(tmp_path: Path) -> None:
    commit_changelog("# Changelog\n")
    keep = tmp_path / "keep.py"
    keep.write_text("import pathlib, sys\npathlib.Path('words').write_text(' '.join(sys.argv))\nsys.exit(1)\n")
    answers = {"project_slug": "x", "--config-file": "evil.yaml"}
    with pytest.raises(ToolError):
        template.render_template(Path(), "HEAD", answers, tmp_path / "out", f"{sys.executable} {keep}")
    assert Path("words").read_text().endswith(" -- project_slug=x --config-file=evil.yaml")


def test_clone_refuses_an_option_for_a_revision(tmp_path: Path) -> None:
    commit_changelog("# Changelog\n")
    state = TemplateState(STATE | {"template": str(tmp_path)})
    with pytest.raises(UserError, match="no revision"), template.clone_template(state, "--orphan"):
        pass


def test_cookiecutter_comes_from_uv_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template.shutil, "which", lambda tool: "/bin/uv" if tool == "uv" else None)
    assert template.find_cookiecutter("")[:4] == ["/bin/uv", "tool", "run", "--from"]
    assert template.find_cookiecutter("my cookiecutter") == ["my", "cookiecutter"]


def test_a_template_that_does_not_render_is_one_sentence(tmp_path: Path) -> None:
    commit_changelog("# Changelog\n")
    with pytest.raises(ToolError, match="does not render") as error:
        template.render_template(Path(), "HEAD", {"project_slug": "x"}, tmp_path / "out", "false")
    assert error.value.tool == "cookiecutter"
