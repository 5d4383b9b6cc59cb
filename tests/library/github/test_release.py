import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from modelyard.github.api import GitHubClient
from modelyard.github.post import PostingRefusedError
from modelyard.github.release import build_release_tag, download_model, main, publish_model, read_promoted_digest

DIGEST = hashlib.sha256(b"model").hexdigest()


@dataclass(frozen=True)
class Shelf(GitHubClient):
    """GitHub with at most one release."""

    files: dict[str, bytes] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        if raw:
            return self.files[path]
        if method == "POST" and path == "/releases":
            self.made.append(body["tag_name"])
        elif method == "POST":
            self.files[path.partition("name=")[2]] = body
        elif "/assets" in path:
            return [{"name": name, "url": name} for name in self.files]
        return {"id": 1, "upload_url": "upload{?name}"} if self.made else None


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "model.skops").write_bytes(b"model")
    (tmp_path / "rows.npy").write_bytes(b"rows")
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        f"# a comment\nchampion:\n  model: {DIGEST}\n  commit: abc\ncandidate: null\n",
        "champion: {model: " + DIGEST + ", commit: abc}\n",
        f"champion:\n  commit: abc\n  model: '{DIGEST}'\n",
    ],
)
def test_promoted_digest_is_the_champions(tmp_path: Path, text: str) -> None:
    (tmp_path / "production.yaml").write_text(text)
    assert read_promoted_digest(tmp_path / "production.yaml") == DIGEST


@pytest.mark.parametrize("text", ["champion: null\n", f"champion: null\ncandidate:\n  model: {DIGEST}\n", ""])
def test_promoted_digest_is_empty_without_a_champion(tmp_path: Path, text: str) -> None:
    (tmp_path / "production.yaml").write_text(text)
    assert read_promoted_digest(tmp_path / "production.yaml") == ""


def test_published_model_can_be_downloaded(models: Path) -> None:
    shelf = Shelf("a/b", "t")
    assert "is kept" in publish_model(shelf, DIGEST, models, "abc")
    assert shelf.made == [build_release_tag(DIGEST)]
    assert download_model(shelf, DIGEST) == {"model.skops": b"model", "rows.npy": b"rows"}


def test_publish_twice_makes_one_release(models: Path) -> None:
    shelf = Shelf("a/b", "t")
    publish_model(shelf, DIGEST, models, "abc")
    publish_model(shelf, DIGEST, models, "abc")
    assert shelf.made == [build_release_tag(DIGEST)]


def test_publish_refuses_another_model(models: Path) -> None:
    shelf = Shelf("a/b", "t")
    assert "nothing was kept" in publish_model(shelf, "0" * 64, models, "abc")
    assert not shelf.made


def test_publish_names_the_file_that_is_missing(models: Path) -> None:
    (models / "rows.npy").unlink()
    with pytest.raises(PostingRefusedError, match=r"there is no .*rows\.npy"):
        publish_model(Shelf("a/b", "t"), DIGEST, models, "abc")


def test_download_refuses_bytes_that_are_not_the_model() -> None:
    shelf = Shelf("a/b", "t", files={"model.skops": b"evil", "rows.npy": b"rows"}, made=["x"])
    assert download_model(shelf, DIGEST) == {}


def test_main_without_a_champion_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main() == 0
    assert "nothing is promoted yet" in capsys.readouterr().out


def test_a_model_that_was_not_judged_is_refused_before_anything_else(models: Path) -> None:
    assert main(str(models), candidate=DIGEST) == 0
    with pytest.raises(PostingRefusedError, match="is not the judged model ffffffffffff"):
        main(str(models), candidate="f" * 64)
