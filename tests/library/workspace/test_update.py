import json
from pathlib import Path

import pytest

from modelyard.core.errors import UserError
from modelyard.core.process import run_git
from modelyard.workspace import update

TREES = {
    "old": {"a": "1\n2\n3\n4\n5\n", "gone": "x\n"},
    "new": {"a": "0\n1\n2\n3\n4\n5\n", "gone": "y\n", "b": "new\n"},
}


def commit(files: dict[str, str]) -> str:
    """These files and no others, committed; the tree."""
    for path in Path().glob("[a-z]*"):
        path.unlink()
    for name, text in files.items():
        Path(name).write_text(text, encoding="utf-8")
    run_git("add", "--all")
    run_git("commit", "--quiet", "--allow-empty", "--message", "a")
    return run_git("rev-parse", "HEAD^{tree}")


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_git("init", "--quiet", "--initial-branch", "main")
    run_git("config", "user.name", "a")
    run_git("config", "user.email", "a@example.org")


@pytest.fixture
def trees() -> list[str]:
    """What the template made, and makes now."""
    return [commit(files) for files in TREES.values()]


def test_both_sides_stay_where_they_do_not_meet(trees: list[str]) -> None:
    commit({"a": "1\n2\n3\n4\n5\nmine\n", "gone": "x\n"})
    assert update.merge_trees(*trees) == []
    assert Path("a").read_text(encoding="utf-8") == "0\n1\n2\n3\n4\n5\nmine\n"
    assert Path("b").read_text(encoding="utf-8") == "new\n"


def test_what_was_removed_stays_removed(trees: list[str]) -> None:
    commit({"a": TREES["old"]["a"]})
    assert update.merge_trees(*trees) == []
    assert not Path("gone").exists()


def test_the_same_lines_are_a_conflict_that_is_explained(trees: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    commit({"a": "mine\n1\n2\n3\n4\n5\n", "gone": "x\n"})
    assert update.finish_update(update.merge_trees(*trees), "abc", test=True) == 1
    assert "conflict  a: both changed it" in capsys.readouterr().out


def test_news_are_the_entries_that_were_added() -> None:
    before, after = "# Changelog\n\n- One\n  thing.\n", "# Changelog\n\n- Another\n  thing.\n- One\n  thing.\n"
    commit({"CHANGELOG.md": before})
    commit({"CHANGELOG.md": after})
    assert update.list_changelog_entries(Path(), "HEAD~1", "HEAD") == ["Another thing."]


@pytest.mark.parametrize(
    ("answers", "said"), [({}, "does not say which commit"), ({"commit": None}, "does not say which commit")]
)
def test_a_template_that_is_not_known_is_refused(answers: dict[str, object], said: str) -> None:
    if answers:
        update.CRUFT_FILE.write_text(json.dumps(answers), encoding="utf-8")
    commit({})
    with pytest.raises(UserError, match=said):
        update.load_cruft_state()


def test_changes_that_are_not_committed_are_refused() -> None:
    Path("a").touch()
    with pytest.raises(UserError, match="not committed"):
        update.load_cruft_state()
