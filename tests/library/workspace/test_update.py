import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.core.process import run_git
from modelyard.workspace import update
from modelyard.workspace.confirm import ConfirmationError
from modelyard.workspace.library import LIBRARY, compute_library_digest
from modelyard.workspace.template import TemplateState
from modelyard.workspace.update import ChangedLibraryError, UncommittedChangesError

MODULE = LIBRARY / "src/modelyard/__init__.py"
# Stands in for cookiecutter: it copies the folder `project` of the template.
COOKIECUTTER = """
import pathlib, shutil, sys
folder, template = pathlib.Path(sys.argv[4]), pathlib.Path(sys.argv[5])
shutil.copytree(template / "project", folder / "flights")
"""
TREES = {
    "old": {"a": "1\n2\n3\n4\n5\n", "gone": "x\n"},
    "new": {"a": "0\n1\n2\n3\n4\n5\n", "gone": "y\n", "b": "new\n"},
}


def init(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    run_git("init", "--quiet", "--initial-branch", "main", cwd=folder)
    run_git("config", "user.name", "a", cwd=folder)
    run_git("config", "user.email", "a@example.org", cwd=folder)


def commit_all(folder: Path = Path()) -> str:
    run_git("add", "--all", cwd=folder)
    run_git("commit", "--quiet", "--allow-empty", "--message", "a", cwd=folder)
    return run_git("rev-parse", "HEAD", cwd=folder)


def commit_files(files: dict[str, str]) -> str:
    """Commit these files and no others, and return the tree."""
    for path in Path().glob("[a-z]*"):
        path.unlink()
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    commit_all()
    return run_git("rev-parse", "HEAD^{tree}")


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def trees() -> list[str]:
    """The project as the template made it, and as it makes it now."""
    return [commit_files(files) for files in TREES.values()]


def test_merge_keeps_both_sides_where_they_do_not_meet(trees: list[str]) -> None:
    commit_files({"a": "1\n2\n3\n4\n5\nmine\n", "gone": "x\n"})
    assert update.merge_trees(*trees) == []
    assert Path("a").read_text(encoding="utf-8") == "0\n1\n2\n3\n4\n5\nmine\n"
    assert Path("b").read_text(encoding="utf-8") == "new\n"


def test_merge_does_not_bring_back_what_was_removed(trees: list[str]) -> None:
    commit_files({"a": TREES["old"]["a"]})
    assert update.merge_trees(*trees) == []
    assert not Path("gone").exists()


def test_merge_of_the_same_lines_is_a_conflict(trees: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    commit_files({"a": "mine\n1\n2\n3\n4\n5\n", "gone": "x\n"})
    assert update.finish_update(update.merge_trees(*trees), "abc", test=True) == 1
    assert "conflict  a: both changed it" in capsys.readouterr().out


def test_conflict_in_pins_names_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    update.print_conflicts(["requirements/dev.txt"])
    assert "make lock" in capsys.readouterr().out


def write_rendered(project: Path, version: int) -> None:
    """Write what the template renders: a file of the project's own, and the library with its digest."""
    (project / MODULE).parent.mkdir(parents=True, exist_ok=True)
    (project / "Makefile").write_text(f"# {version}\n\n\n\ntest:\n", encoding="utf-8")
    (project / "pyproject.toml").write_text(
        '[project]\nname = "flights"\n[tool.modelyard]\npackage = "flights"\n', encoding="utf-8"
    )
    (project / MODULE).write_text(f"VERSION = {version}\n\n\n\nEND = 1\n", encoding="utf-8")
    (project / LIBRARY / f"only-in-{version}").touch()
    digest = compute_library_digest(project / LIBRARY)
    (project / LIBRARY / ".brought").write_text(digest + "\n", encoding="utf-8")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """A template with two commits, and a command that renders it."""
    folder = tmp_path / "template"
    init(folder)
    write_rendered(folder / "project", 1)
    commit_all(folder)
    shutil.rmtree(folder / "project")
    write_rendered(folder / "project", 2)
    (folder / "CHANGELOG.md").write_text("- Flying cars.\n", encoding="utf-8")
    commit_all(folder)
    (tmp_path / "cookiecutter.py").write_text(COOKIECUTTER, encoding="utf-8")
    return folder


def follow(template: Path) -> None:
    """Make the current folder the project that the template's first commit made."""
    write_rendered(Path(), 1)
    state = {
        "template": str(template),
        "commit": run_git("rev-parse", "HEAD~1", cwd=template),
        "context": {"cookiecutter": {"project_slug": "flights", "_template": str(template)}},
    }
    Path(".cruft.json").write_text(json.dumps(state), encoding="utf-8")
    run_git("config", "--add", "modelyard.template", str(template))  # as the template's hook does
    commit_all()


Run = Callable[..., int]


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Run:
    """Run the update without tests, in a project that the template made."""
    follow(template)
    command = f"{sys.executable} {tmp_path / 'cookiecutter.py'}"
    return lambda **options: update.main(test=False, cookiecutter=command, **options)


def read_module() -> str:
    return MODULE.read_text(encoding="utf-8")


def change_module() -> None:
    MODULE.write_text(read_module().replace("END = 1", "END = 2"), encoding="utf-8")
    commit_all()


def test_main_replaces_the_library_and_merges_the_rest(
    run: Run, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("Makefile").write_text("# 1\n\n\n\ntest:\n\techo mine\n", encoding="utf-8")
    commit_all()
    assert run() == 0
    assert read_module().startswith("VERSION = 2")
    assert not (LIBRARY / "only-in-1").exists() and (LIBRARY / "only-in-2").exists()
    assert Path("Makefile").read_text(encoding="utf-8") == "# 2\n\n\n\ntest:\n\techo mine\n"
    assert TemplateState.load().commit == run_git("rev-parse", "HEAD", cwd=template)
    assert run_git("branch", "--show-current") == "template-update"
    assert run_git("status", "--porcelain") == ""
    said = capsys.readouterr().out
    assert "new       Flying cars." in said and f"template  {template}" in said


def test_main_with_nothing_new_changes_nothing(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run()
    head = run_git("rev-parse", "HEAD")
    assert run() == 0
    assert run_git("rev-parse", "HEAD") == head
    assert "follows the newest template already" in capsys.readouterr().out


def test_main_stops_at_a_changed_library_and_shows_the_difference(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    change_module()
    head = run_git("rev-parse", "HEAD")
    with pytest.raises(ChangedLibraryError, match="KEEP=1") as error:
        run()
    assert error.value.paths == ["src/modelyard/__init__.py"]
    assert "\n-END = 1\n+END = 2\n" in capsys.readouterr().out
    assert run_git("rev-parse", "HEAD", "--abbrev-ref", "HEAD").split() == [head, "main"]
    assert run_git("status", "--porcelain") == ""


def test_main_keeps_the_change_as_a_patch_that_applies_again(run: Run) -> None:
    change_module()
    assert run(keep=True) == 0
    assert read_module() == "VERSION = 2\n\n\n\nEND = 1\n"
    run_git("apply", "--3way", str(update.PATCH_FILE))
    assert read_module() == "VERSION = 2\n\n\n\nEND = 2\n"


def test_main_keeps_a_file_that_was_added_to_the_library(run: Run) -> None:
    (LIBRARY / "mine.bin").write_bytes(bytes(range(256)))
    commit_all()
    run(keep=True)
    assert not (LIBRARY / "mine.bin").exists()
    run_git("apply", "--3way", str(update.PATCH_FILE))
    assert (LIBRARY / "mine.bin").read_bytes() == bytes(range(256))


def test_main_takes_a_library_without_its_digest_for_unchanged_where_no_file_differs(run: Run) -> None:
    (LIBRARY / ".brought").unlink()
    commit_all()
    assert run() == 0
    assert (LIBRARY / ".brought").exists()


def test_main_brings_the_library_where_there_was_none(run: Run) -> None:
    shutil.rmtree(LIBRARY)
    commit_all()
    assert run() == 0
    assert read_module().startswith("VERSION = 2")


def test_main_replaces_the_library_also_where_other_files_are_in_conflict(run: Run) -> None:
    Path("Makefile").write_text("# mine\n\n\n\ntest:\n", encoding="utf-8")
    commit_all()
    assert run() == 1
    assert "<<<<<<<" in Path("Makefile").read_text(encoding="utf-8")
    assert read_module().startswith("VERSION = 2")


def test_main_asks_for_an_address_that_changed(
    run: Run, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    moved = shutil.copytree(template, tmp_path / "moved")
    state = json.loads(Path(".cruft.json").read_text(encoding="utf-8")) | {"template": str(moved)}
    Path(".cruft.json").write_text(json.dumps(state), encoding="utf-8")
    commit_all()
    with pytest.raises(ConfirmationError):
        run()
    assert run(yes=True) == 0
    assert TemplateState.load().answers["_template"] == str(moved)


def test_main_runs_no_hook_of_a_commit_beside_the_default_branch(
    run: Run, template: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    run_git("switch", "--quiet", "-c", "other", cwd=template)
    commit_all(template)
    run_git("switch", "--quiet", "main", cwd=template)
    with pytest.raises(ConfirmationError, match="the template's commit"):
        run(to="origin/other")
    assert run(to="origin/other", yes=True) == 0


def test_main_refuses_changes_that_are_not_committed(run: Run) -> None:
    Path("a").touch()
    with pytest.raises(UncommittedChangesError):
        run()


def test_update_that_git_refuses_leaves_the_branch(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(old: str, new: str) -> list[str]:
        raise UserError("git cherry-pick: no")

    monkeypatch.setattr(update, "merge_trees", refuse)
    with pytest.raises(UserError, match="cherry-pick"):
        run()
    assert run_git("branch", "--show-current") == "main"
    assert read_module().startswith("VERSION = 1")


def test_main_in_a_folder_of_a_larger_repository(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("Makefile").write_text("# of the whole\n", encoding="utf-8")
    Path("flights").mkdir()
    monkeypatch.chdir("flights")
    follow(template)
    change_module()
    command = f"{sys.executable} {tmp_path / 'cookiecutter.py'}"
    with pytest.raises(ChangedLibraryError) as error:
        update.main(test=False, cookiecutter=command)
    assert error.value.paths == ["src/modelyard/__init__.py"]
    assert update.main(test=False, keep=True, cookiecutter=command) == 0
    assert read_module().startswith("VERSION = 2")
    assert Path("Makefile").read_text(encoding="utf-8").startswith("# 2")
    assert Path("../Makefile").read_text(encoding="utf-8") == "# of the whole\n"
    assert run_git("branch", "--show-current") == "template-update-flights"
    run_git("apply", "--3way", str(update.PATCH_FILE))
    assert read_module().endswith("END = 2\n")
