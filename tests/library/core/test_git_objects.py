import subprocess
from pathlib import Path

import pytest

from modelyard.core import git_objects
from modelyard.core.errors import OptionError, UserError
from modelyard.core.process import ForeignRepositoryError, run_git


def commit(message: str) -> str:
    """Commit everything, and return the commit."""
    run_git("add", "--all")
    run_git("-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "--quiet", "--message", message)
    return run_git("rev-parse", "HEAD")


@pytest.fixture(params=["", "project"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project at the top of a repository, or in a folder of it, as the current folder."""
    project = tmp_path / "repository" / request.param
    (project / "src/a").mkdir(parents=True)
    run_git("init", "--quiet", "--initial-branch", "main", cwd=tmp_path / "repository")
    monkeypatch.chdir(project)
    Path("params.yaml").write_text("seed: 1\n")
    Path("src/a/ä.py").write_text("A = 1\n")
    Path("src/empty").write_bytes(b"")
    return project


@pytest.mark.usefixtures("folder")
def test_a_file_of_an_earlier_commit_is_read() -> None:
    first = commit("first")
    Path("params.yaml").write_text("seed: 2\n")
    commit("second")
    assert git_objects.read_blob(first, "params.yaml") == b"seed: 1\n"
    assert git_objects.read_yaml_at(first, Path("params.yaml")) == {"seed": 1}


@pytest.mark.usefixtures("folder")
def test_a_file_that_a_commit_does_not_have_is_none() -> None:
    commit("first")
    assert git_objects.read_blob("HEAD", "none") is git_objects.read_yaml_at("nothing", "params.yaml") is None


@pytest.mark.usefixtures("folder")
def test_a_folder_of_a_commit_is_read_file_by_file() -> None:
    commit("first")
    found = git_objects.read_folder_blobs("HEAD", "src")
    assert found == {"a/ä.py": b"A = 1\n", "empty": b""}
    assert git_objects.read_folder_blobs("HEAD", "none") == {}


@pytest.mark.usefixtures("folder")
def test_find_commit() -> None:
    first = commit("first")
    assert git_objects.find_commit("main") == first
    assert git_objects.find_commit("nothing") is git_objects.find_commit("--all") is None


@pytest.mark.usefixtures("folder")
def test_base_of_a_repository_without_a_commit() -> None:
    with pytest.raises(UserError, match="nothing is committed"):
        git_objects.resolve_base(None)


@pytest.mark.usefixtures("folder")
def test_base_in_a_repository_of_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    commit("first")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    with pytest.raises(ForeignRepositoryError, match=r"safe\.directory"):
        git_objects.resolve_base(None)


@pytest.mark.usefixtures("folder")
def test_base_that_is_not_a_commit() -> None:
    commit("first")
    with pytest.raises(OptionError) as refusal:
        git_objects.resolve_base("nothing")
    assert refusal.value.option == "BASE"


@pytest.mark.usefixtures("folder")
def test_base_of_a_branch_is_the_tip_of_the_default_branch() -> None:
    first = commit("first")
    run_git("switch", "--quiet", "-c", "idea")
    Path("params.yaml").write_text("seed: 2\n")
    commit("second")
    assert git_objects.resolve_base(None) == git_objects.resolve_base("main") == first


@pytest.mark.usefixtures("folder")
def test_base_on_the_default_branch_is_the_commit_before() -> None:
    first = commit("first")
    assert git_objects.resolve_base(None) == first
    Path("params.yaml").write_text("seed: 2\n")
    second = commit("second")
    assert git_objects.resolve_base(None) == first
    Path("params.yaml").write_text("seed: 3\n")
    assert git_objects.resolve_base(None) == second


@pytest.fixture
def pushed(folder: Path, tmp_path: Path) -> Path:
    """A remote whose default branch is `trunk` of two commits, and whose branch `idea` has a third."""
    commit("first")
    run_git("branch", "--move", "trunk")
    for seed, branch in ((2, "trunk"), (3, "idea")):
        run_git("switch", "--quiet", "-C", branch)
        Path("params.yaml").write_text(f"seed: {seed}\n")
        commit(branch)
    hub = tmp_path / "hub.git"
    run_git("clone", "--quiet", "--bare", run_git("rev-parse", "--show-toplevel"), str(hub))
    run_git("symbolic-ref", "HEAD", "refs/heads/trunk", cwd=hub)
    return hub


def clone(hub: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    """Clone a remote as the current folder."""
    run_git("clone", "--quiet", *options, hub.as_uri(), str(folder))
    monkeypatch.chdir(folder)


def test_base_in_a_clone_is_the_default_branch_of_the_remote_whatever_its_name(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone(pushed, tmp_path / "clone", monkeypatch, "--branch", "idea")
    assert git_objects.resolve_base(None) == run_git("rev-parse", "origin/trunk")
    run_git("switch", "--quiet", "trunk")
    assert git_objects.resolve_base(None) == run_git("rev-parse", "trunk~1")


@pytest.mark.parametrize("options", [["--depth", "1", "--branch", "idea"], ["--single-branch", "--branch", "idea"]])
def test_base_that_a_clone_does_not_have_is_never_guessed(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    clone(pushed, tmp_path / "clone", monkeypatch, *options)
    with pytest.raises(OptionError, match="git fetch origin") as refusal:
        git_objects.resolve_base(None)
    assert refusal.value.option == "BASE"


def test_base_before_the_only_commit_of_a_shallow_clone_is_never_guessed(
    pushed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone(pushed, tmp_path / "clone", monkeypatch, "--depth", "1")
    with pytest.raises(OptionError, match="--unshallow"):
        git_objects.resolve_base(None)


@pytest.mark.usefixtures("folder")
def test_base_of_unknown_branches_is_asked_for() -> None:
    first = commit("first")
    run_git("branch", "--move", "trunk")
    assert git_objects.resolve_base(None) == first
    run_git("switch", "--quiet", "-c", "idea")
    with pytest.raises(OptionError, match="which of idea, trunk is the default branch; name it, such as BASE=trunk"):
        git_objects.resolve_base(None)
    run_git("config", "init.defaultBranch", "trunk")
    assert git_objects.resolve_base(None) == first


def test_a_checkout_shares_the_cache_and_goes_away(folder: Path) -> None:
    first = commit("first")
    Path("params.yaml").write_text("seed: 2\n")
    with git_objects.checkout_commit(first) as project:
        assert (project / "params.yaml").read_text() == "seed: 1\n"
        assert str(folder / ".dvc/cache") in (project / ".dvc/config.local").read_text()
    assert not project.exists()
    listed = subprocess.run(["git", "worktree", "list"], capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) == 1
