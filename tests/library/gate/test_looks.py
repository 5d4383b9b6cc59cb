import subprocess
from pathlib import Path

import pytest

from modelyard.core.dvc_lock import get_hashes, load_lock
from modelyard.core.files import write_json
from modelyard.core.paths import DATA_JSON, DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git
from modelyard.gate import looks
from tests.library.gate.support import change, commit_all, make_difference, make_repository, train


def add_rows(rows: int) -> None:
    write_json(DATA_JSON, {"rows": rows})


def count(base: str = "main") -> int:
    return looks.count_looks(base, 50).count


def branch(name: str, start: str = "main") -> None:
    run_git("switch", "--quiet", "--create", name, start)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository with one trained model on `main`, and a branch for the candidate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    branch("change")


def test_first_candidate_is_the_first_look() -> None:
    train(depth=2)
    assert count() == 1
    commit_all()
    assert count() == 1


def test_champion_itself_is_no_look() -> None:
    assert count() == 0


def test_every_model_of_a_branch_counts_once() -> None:
    for depth in (2, 3, 2, 4):
        train(depth=depth)
        commit_all()
    assert count() == 3


def test_branches_that_were_not_merged_count() -> None:
    train(depth=2)
    commit_all()
    branch("other")
    train(depth=3)
    commit_all()
    assert count() == 2


def test_a_merged_model_counts_once() -> None:
    train(depth=2)
    commit_all()
    run_git("switch", "--quiet", "main")
    run_git("merge", "--quiet", "--squash", "change")
    commit_all("squashed")
    run_git("branch", "--quiet", "-D", "change")
    branch("other")
    train(depth=3)
    assert count() == 2


def test_sources_that_were_judged_without_a_new_lock_count() -> None:
    for number in range(3):
        Path("src/p.py").write_text(f"x = 1  # {number}\n")
        commit_all()
    train()  # as the run does that judges the last of them
    assert count() == 3


def test_sources_that_a_later_commit_has_a_model_of_count_once() -> None:
    Path("src/p.py").write_text("x = 2\n")
    commit_all()
    train()
    commit_all()
    assert count() == 1


def test_what_makes_no_model_is_no_look() -> None:
    train(depth=2)
    commit_all()
    Path("README.md").write_text("Words")
    change("gate", margin=0.5)
    commit_all()
    assert count() == 1


@pytest.mark.parametrize("window", [None, "2024-06-01"])
def test_a_new_holdout_starts_a_new_count(window: str | None) -> None:
    if window:
        change("data", time="when")
    train(depth=2)
    commit_all()
    run_git("branch", "--quiet", "--force", "main")
    branch("old")
    train(depth=3)
    commit_all(
        "it stays unmerged",
    )
    make_older()
    run_git("switch", "--quiet", "main")
    change("split", **({"window": window} if window else {"seed": 1}))
    train()
    commit_all("new holdout")
    assert count() == 0
    branch("candidate")
    train(depth=4)
    assert count() == 1


def make_older() -> None:
    """Give the last commit a date before all others."""
    env = {"GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z"}
    run_git("commit", "--quiet", "--amend", "--no-edit", env=env)


def test_a_period_or_a_share_is_no_new_holdout() -> None:
    change("data", time="when")
    train(depth=2)
    commit_all()
    run_git("branch", "--quiet", "--force", "main")
    for values in ({"window": "90d"}, {"window": None, "holdout": 0.21}):
        change("split", **values)
        train()
        commit_all()
    begin = looks.list_holdout_commits("HEAD")[-1]
    assert begin == run_git("rev-parse", "main")


def test_looks_at_rows_that_left_the_newest_share_no_longer_count() -> None:
    change("data", time="when")
    commits = []
    for rows in (100, 120, 130):
        add_rows(rows)
        train(depth=rows)
        commits.append(commit_all())
    assert looks.list_holdout_commits("HEAD") == [commits[2], commits[1]]  # 104 of 130 rows are older than the holdout


def test_a_branch_that_is_older_than_the_holdout_counts_when_its_commit_is_younger() -> None:
    branch("old")
    run_git("switch", "--quiet", "main")
    change("split", seed=1)
    train()
    commit_all("new holdout")
    run_git("switch", "--quiet", "old")
    train(depth=5)
    commit_all()
    branch("candidate", "main")
    train(depth=6)
    assert count() == 2


def test_a_shallow_clone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(depth=2)
    commit_all()
    train(depth=3)
    commit_all()
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{tmp_path}", "shallow"], check=True)
    monkeypatch.chdir("shallow")
    MODEL_FILE.parent.mkdir()
    MODEL_FILE.write_text("model")
    found = looks.count_looks("HEAD", 50)
    assert not found.complete
    assert "shallow" in looks.build_look_notes(found, make_difference(0.0))[-1]


def test_heads_of_pull_requests_are_fetched_in_a_workflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train(depth=2)
    run_git("update-ref", "refs/pull/7/head", commit_all())  # as GitHub keeps it when a branch is gone
    run_git("switch", "--quiet", "main")
    run_git("branch", "--quiet", "-D", "change")
    subprocess.run(["git", "clone", "--quiet", str(tmp_path), "clone"], check=True)
    monkeypatch.chdir("clone")
    branch("candidate", "origin/main")
    train(depth=3)
    assert count("origin/main") == 1
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert count("origin/main") == 2


def test_a_project_in_a_folder_of_the_repository_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("inner").mkdir()
    for path in (PARAMS_YAML, SCHEMA_YAML, DVC_LOCK, Path("src"), DATA_JSON.parent, MODEL_FILE.parent):
        path.rename(Path("inner", path))
    monkeypatch.chdir("inner")
    base = commit_all()
    for depth in (2, 3):
        train(depth=depth)
        commit_all()
    assert count(base) == 2


def test_the_step_grows_with_the_looks() -> None:
    steps = [looks.compute_ladder_step(0.01, count) for count in (0, 1, 2, 50)]
    assert steps == pytest.approx([0, 0, 0.0118, 0.0280], abs=1e-4)


@pytest.mark.parametrize(("count", "word"), [(1, "better"), (2, "better"), (10, "not worse")])
def test_better_takes_more_after_more_looks(count: int, word: str) -> None:
    primary = make_difference(0.0175, error=0.005)  # low end 0.0077, step 0.0059 after two and 0.0107 after ten
    assert looks.require_ladder_step("better", primary, count) == word
    assert looks.require_ladder_step("worse", primary, count) == "worse"


def test_notes_show_the_count_and_ask_for_a_new_holdout() -> None:
    primary = make_difference(0.01)
    assert looks.build_look_notes(looks.HoldoutLooks(1, 50), primary) == []
    (note,) = looks.build_look_notes(looks.HoldoutLooks(10, 50), primary)
    assert note.startswith("10 models were judged on this holdout.") and "0.0107" in note
    assert "make holdout" in looks.build_look_notes(looks.HoldoutLooks(50, 50), primary)[-1]


@pytest.mark.usefixtures("here")
def test_the_lock_that_dvc_writes_belongs_to_its_sources() -> None:
    found, untrained = looks.collect_looks(looks.find_candidates(["HEAD"]))
    assert {look.model for look in found} == {get_hashes(load_lock())[str(MODEL_FILE)]} and not untrained
