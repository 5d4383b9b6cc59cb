"""The first commit is made wherever it can be, and never where it should not be."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.template.support import ROOT, Bake, BakedProject, run

Render = Callable[..., Path]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH that leads to no git."""
    monkeypatch.setenv("PATH", str(tmp_path / "no-such-folder"))


@pytest.fixture
def old_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git before 2.28: it knows no --initial-branch and calls the first branch master."""
    folder = tmp_path / "old-git"
    folder.mkdir()
    (folder / "git").write_text(
        '#!/bin/sh\ncase "$*" in *--initial-branch*|*"init -b"*) exit 129;; esac\n'
        f'exec {shutil.which("git")} -c init.defaultBranch=master "$@"\n'
    )
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def commits(project: BakedProject) -> list[str]:
    return project.run("git", "log", "--format=%s").splitlines()


def test_first_commit_holds_everything(bake: Bake) -> None:
    project = bake()
    assert commits(project) == ["Start from the template"]
    assert project.run("git", "branch", "--show-current") == "main\n"
    assert project.run("git", "status", "--porcelain", "--ignored") == ""
    assert set(project.run("git", "ls-files").splitlines()) == project.files()


def test_the_template_that_made_the_project_is_accepted_for_updates(bake: Bake) -> None:
    project = bake()
    accepted = project.run("git", "config", "--local", "modelyard.template").strip()
    assert accepted == json.loads(project.read(".cruft.json"))["template"]


def test_old_git_still_starts_on_main(fresh: Bake, old_git: None) -> None:
    project = fresh()
    assert project.run("git", "branch", "--show-current") == "main\n"
    assert commits(project) == ["Start from the template"]


def test_without_git_the_commands_are_named(fresh: Bake, no_git: None, capfd: Capture) -> None:
    project = fresh()
    assert project.has("Makefile") and not project.has(".git")
    assert "git is not installed; then run: git init && " in capfd.readouterr().out


def test_without_identity_the_commands_work(
    fresh: Bake, monkeypatch: pytest.MonkeyPatch, capfd: Capture, tmp_path: Path
) -> None:
    nobody = tmp_path / "nobody"
    nobody.write_text("[user]\nuseConfigOnly = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(nobody))
    project = fresh()
    note = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("note:"))
    assert "has git your name and e-mail?" in note
    nobody.write_text("[user]\nname = Me\nemail = me@example.org\n")
    project.run("sh", "-c", note.split("run: ", 1)[1])
    assert commits(project) == ["Start from the template"]
    assert project.run("git", "status", "--porcelain") == ""


def test_inside_a_repository_no_other_is_made(fresh: Bake, tmp_path: Path, capfd: Capture) -> None:
    run("git", "init", "--quiet", ".", cwd=tmp_path)
    project = fresh()
    assert not project.has(".git")
    assert f"inside the repository {tmp_path}" in capfd.readouterr().out
    run("git", "add", "--all", cwd=tmp_path)
    tracked = run("git", "ls-files", cwd=tmp_path).splitlines()
    assert len(tracked) == len(project.files())


def test_in_an_ignored_folder_a_repository_is_made(fresh: Bake, tmp_path: Path) -> None:
    run("git", "init", "--quiet", ".", cwd=tmp_path)
    (tmp_path / ".gitignore").write_text("*\n")
    assert commits(fresh()) == ["Start from the template"]


def test_into_an_empty_clone_the_first_commit_is_made(render: Render, tmp_path: Path) -> None:
    run("git", "init", "--quiet", "flight-delays", cwd=tmp_path)
    project = BakedProject(render(tmp_path, force=True))
    assert commits(project) == ["Start from the template"]


def test_again_with_force_commits_nothing_and_keeps_what_is_ours(
    fresh: Bake, render: Render, tmp_path: Path, capfd: Capture
) -> None:
    project = fresh()
    ours = [".github/workflows/ours.yml", "src/flight_delays/ours.py", "notes.md"]
    for name in ours:
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_text("# ours\n")
    render(tmp_path, force=True)
    assert "already a repository, nothing committed" in capfd.readouterr().out
    assert commits(project) == ["Start from the template"]
    changed = project.run("git", "status", "--porcelain", "--untracked-files=all").splitlines()
    assert sorted(changed) == sorted(f"?? {name}" for name in ours)


def test_from_a_git_hook_the_project_is_committed_to_its_own_repository(
    fresh: Bake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("git", "init", "--quiet", "other", cwd=tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    project = fresh()
    monkeypatch.delenv("GIT_DIR")
    assert commits(project) == ["Start from the template"]


def test_command_line_says_what_comes_next(template: Path, tmp_path: Path) -> None:
    out = run(
        sys.executable,
        "-m",
        "cookiecutter",
        "--no-input",
        "--default-config",
        template,
        cwd=tmp_path,
    )
    assert out == f"flight-delays is ready. Next: cd {tmp_path}/flight-delays && make pipeline\n"


def test_template_without_git_says_that_its_commit_is_unknown(template: Path, tmp_path: Path) -> None:
    plain = shutil.copytree(template, tmp_path / "plain", ignore=shutil.ignore_patterns(".git"))
    out = run(sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", plain, cwd=tmp_path)
    assert "note: the template's commit is unknown" in out


def test_hooks_need_only_the_standard_library(template: Path) -> None:
    for name in ("pre_gen_project", "post_gen_project"):
        imports = f"import runpy; runpy.run_path('hooks/{name}.py', run_name='read')"
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", imports],
            cwd=template,
            capture_output=True,
            text=True,
        )
        assert "ModuleNotFoundError" not in done.stderr


@pytest.fixture
def plain(template: Path, tmp_path: Path) -> Path:
    """The template as an archive brings it: no git, and text files for symlinks."""
    folder = tmp_path / "plain"
    shutil.copytree(template, folder, symlinks=True, ignore=shutil.ignore_patterns(".git"))
    link = next(folder.glob("{{*")) / "packages" / "modelyard"
    target = str(link.readlink())
    link.unlink()
    link.write_text(target)
    return folder


def render_plain(folder: Path) -> tuple[BakedProject, str]:
    command = (sys.executable, "-m", "cookiecutter", "--no-input", "--default-config", folder)
    return BakedProject(folder.parent / "flight-delays"), run(*command, cwd=folder.parent)


def test_the_library_comes_where_a_checkout_has_no_symlinks(plain: Path, bake: Bake) -> None:
    project, _ = render_plain(plain)
    assert project.files() == bake().files()
    assert project.read("packages/modelyard/.brought") == bake().read("packages/modelyard/.brought")


def test_a_library_that_is_nowhere_is_one_sentence(plain: Path) -> None:
    shutil.rmtree(plain / "packages")
    project, said = render_plain(plain)
    assert "note: packages/modelyard did not come along: copy that folder" in said
    assert project.has("Makefile") and not project.has("packages/modelyard/src")


def test_no_cache_comes_along(plain: Path, bake: Bake) -> None:
    library = plain / "packages" / "modelyard"
    for name in ("src/modelyard/__pycache__", "src/modelyard.egg-info", ".ruff_cache"):
        (library / name).mkdir()
        (library / name / "x").write_text("x")
    assert render_plain(plain)[0].files() == bake().files()


def test_the_recorded_digest_is_what_the_readme_says(bake: Bake) -> None:
    readme = (ROOT / "packages" / "modelyard" / "README.md").read_text(encoding="utf-8")
    (command,) = [line.strip() for line in readme.splitlines() if "sha256sum | sha256sum" in line]
    said = run("bash", "-c", command, cwd=bake().path / "packages" / "modelyard").split()[0]
    assert bake().read("packages/modelyard/.brought") == f"{said}\n"
