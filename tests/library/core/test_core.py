import json
from pathlib import Path

import pytest

from modelyard.core import console, files, params, process
from modelyard.core.errors import UserError
from tests.library.support import PROJECT


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed: ", "sead: "), "sead"),
        (("  target: ", "  tarket: "), "tarket"),
        (("  holdout: ", "  holdout: much  # "), r"split\.holdout"),
        (("data:\n", "data: [\n"), "does not hold"),
    ],
)
def test_params_that_do_not_hold_are_one_sentence(change: tuple[str, str], words: str) -> None:
    text = (PROJECT / "params.yaml").read_text(encoding="utf-8")
    assert change[0] in text
    Path("params.yaml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(UserError, match=words):
        params.load_params()


def test_params_that_are_missing_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"there is no params\.yaml here"):
        params.load_params()


def test_atomic_leaves_the_old_file_when_writing_fails() -> None:
    path = Path("a/b.txt")
    with files.atomic_write(path) as draft:
        draft.write_text("old", encoding="utf-8")

    def fail() -> None:
        with files.atomic_write(path) as half:
            half.write_text("half", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(Path("a").iterdir()) == [path]


def test_equal_values_are_equal_bytes() -> None:
    files.write_json(Path("a.json"), {"b": 1, "a": [1.5, None]})
    files.write_json(Path("b.json"), {"a": [1.5, None], "b": 1})
    assert Path("a.json").read_bytes() == Path("b.json").read_bytes()
    assert files.read_json(Path("a.json")) == {"a": [1.5, None], "b": 1}


def test_json_has_no_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(Path("a.json"), float("nan"))
    assert not Path("a.json").exists()


@pytest.mark.parametrize(("text", "words"), [(None, "is missing"), ("{", "is not JSON")])
def test_json_that_cannot_be_read_is_one_sentence(text: str | None, words: str) -> None:
    if text is not None:
        Path("a.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        files.read_json(Path("a.json"))


def test_sha256_is_that_of_the_bytes() -> None:
    Path("a").write_bytes(b"")
    assert files.sha256(Path("a")).startswith("e3b0c442")


def test_git_says_what_is_wrong() -> None:
    with pytest.raises(UserError, match="git rev-parse: "):
        process.run_git("rev-parse", "--verify", "nothing")


@pytest.mark.parametrize(
    ("said", "last"),
    [
        ("ERROR: failed\nERROR: no such bucket\n\nHaving any troubles? https://error.dvc.org", "no such bucket"),
        ("fatal: not a tree\nmake: *** [Makefile:9: lock] Error 2\n", "not a tree"),
        ("ERROR: failed to transfer 'ab12' - no such place\nERROR: 9 files failed to upload", "no such place"),
        ("", "it failed without a message"),
    ],
)
def test_last_words_are_the_reason(said: str, last: str) -> None:
    assert process.last_error_line(said) == last


def test_flat_names_nested_values() -> None:
    nested = {"split": {"seed": 0, "by": {}}, "seed": 1}
    assert files.flatten_mapping(nested) == {"split.seed": 0, "split.by": {}, "seed": 1}


def test_a_stage_says_rows_and_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with console.report_stage("train", 1234) as notes:
        notes["model"] = "abc"
        notes["learned from"] = 1000
    line = capsys.readouterr().out
    assert line.split()[:4] == ["train", "1,234", "rows", "in"]
    assert "model abc  learned from 1,000" in line


def test_every_block_has_its_defaults() -> None:
    assert json.dumps(params.SplitParams().holdout) == "0.2"
