"""Attack: a branch tries to be judged as if its holdout had been looked at less often."""

from collections.abc import Callable
from pathlib import Path

import pytest

from modelyard.core.files import md5
from modelyard.core.paths import DVC_LOCK, MODEL_FILE, PARAMS_YAML
from modelyard.core.process import run_git
from modelyard.gate import looks
from modelyard.gate.looks import collect_looks, count_looks, find_candidates
from tests.library.gate.support import change, commit_all, make_repository, train

OLD = {"GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z", "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z"}
LOOKS = 4  # three of another branch, and the candidate


def change_the_seed() -> None:
    change("split", seed=7)


def change_the_window() -> None:
    change("split", window="2030-01-01")


def delete_the_lock() -> None:
    DVC_LOCK.unlink()


def break_the_parameters() -> None:
    PARAMS_YAML.write_text("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n")


def begin_a_history_of_its_own() -> None:
    run_git("switch", "--quiet", "--orphan", "fresh")
    make_repository()


def hide_behind_an_old_date() -> None:
    train(depth=9)
    run_git("commit", "--quiet", "--all", "--message", "old", env=OLD)


def discard_the_other_branch_by_a_merge() -> None:
    run_git("merge", "--quiet", "--strategy", "ours", "--no-edit", "other")


@pytest.mark.parametrize(
    "attack",
    [
        change_the_seed,
        change_the_window,
        delete_the_lock,
        break_the_parameters,
        begin_a_history_of_its_own,
        hide_behind_an_old_date,
        discard_the_other_branch_by_a_merge,
    ],
)
def test_a_branch_cannot_lower_its_count(
    attack: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    run_git("switch", "--quiet", "--create", "other")
    for depth in (2, 3, 4):
        train(depth=depth)
        commit_all()
    run_git("switch", "--quiet", "--create", "attacker", base)
    attack()
    commit_all()
    Path("models/model.skops").write_text("what the judging run trains")
    assert count_looks(base, 50).count >= LOOKS


@pytest.mark.parametrize("pushes", [1, 5])
def test_pushes_without_a_new_lock_are_counted(pushes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    run_git("switch", "--quiet", "--create", "attacker")
    for number in range(pushes):
        change("train", depth=10 + number)
        commit_all()
    Path("models/model.skops").write_text("what the judging run trains")
    assert count_looks(base, 50).count == pushes


def test_a_lock_that_names_the_champions_model_hides_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    champion = md5(MODEL_FILE)
    run_git("switch", "--quiet", "--create", "attacker")
    for depth in (2, 3, 4):
        train(depth=depth)
        DVC_LOCK.write_text(DVC_LOCK.read_text().replace(md5(MODEL_FILE), champion))
        commit_all()
    assert count_looks(base, 50).count >= 3


def test_states_beyond_those_that_are_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setattr(looks, "MAX_CANDIDATES", 3)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    for number in range(5):
        PARAMS_YAML.write_text(PARAMS_YAML.read_text() + f"# {number}\n")
        commit_all()
    assert count_looks(base, 50).count == 3


def test_a_lock_with_a_digest_of_another_type_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    train(depth=2)
    DVC_LOCK.write_text(DVC_LOCK.read_text().replace(f'"{md5(MODEL_FILE)}"', "[1]"))
    commit_all()
    assert count_looks(base, 50).count == 1


def test_forged_dates_hide_no_look_of_a_branch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    make_repository()
    base = run_git("rev-parse", "HEAD")
    run_git("switch", "--quiet", "--create", "attacker")
    for depth in (2, 3):
        train(depth=depth)
        run_git("commit", "--quiet", "--all", "--message", "old", env=OLD)
    assert count_looks(base, 50).count == 2


def test_aliases_are_never_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Aliases within aliases would take for ever to compare, so a commit with one is counted by its files alone."""
    monkeypatch.chdir(tmp_path)
    make_repository()
    PARAMS_YAML.write_text(PARAMS_YAML.read_text().replace("seed: 0\n", "seed: &s 0\nnote: *s\n", 1))
    commit_all()
    models, untrained = collect_looks(find_candidates(["HEAD"]))
    assert not models and len(untrained) == 1
