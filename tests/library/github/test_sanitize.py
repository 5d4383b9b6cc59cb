import json
from pathlib import Path
from typing import Any

import pytest

from modelyard.github.sanitize import (
    MAX_BODY_CHARACTERS,
    InvalidArtifactError,
    read_verdict,
    sanitize_line,
    sanitize_markdown,
    truncate_markdown,
)

GOOD: dict[str, Any] = {
    "version": 1,
    "verdict": "better",
    "decision": "pass",
    "unattended": "open",
    "sentence": "Better than the champion.",
    "champion": {"model": "a" * 64},
    "candidate": {"model": "b" * 64},
}


def write_verdict(folder: Path, **changes: Any) -> Path:
    path = folder / "verdict.json"
    path.write_text(json.dumps(GOOD | changes), encoding="utf-8")
    return path


def test_verdict_gives_words_and_digests(tmp_path: Path) -> None:
    found = read_verdict(write_verdict(tmp_path, more="ignored"))
    assert found == {**{key: GOOD[key] for key in ("verdict", "decision", "unattended", "sentence")}} | {
        "champion": "a" * 64,
        "candidate": "b" * 64,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"verdict": "excellent"},
        {"decision": ["pass"]},
        {"unattended": None},
        {"sentence": " "},
        {"sentence": 1},
        {"champion": {"model": "../../etc"}},
        {"candidate": {"model": 3}},
    ],
)
def test_verdict_of_another_shape_is_invalid(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidArtifactError):
        read_verdict(write_verdict(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "{", "[]", '"better"', "\udcff"])
def test_verdict_that_is_no_object_is_invalid(tmp_path: Path, text: str) -> None:
    path = tmp_path / "verdict.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidArtifactError):
        read_verdict(path)


def test_verdict_may_be_no_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(write_verdict(tmp_path))
    with pytest.raises(InvalidArtifactError):
        read_verdict(tmp_path / "link.json")


def test_sentence_stays_one_line() -> None:
    assert sanitize_line("one\ndecision=pass\r\n") == "one decision=pass"


@pytest.mark.parametrize(
    ("markdown", "gone"),
    [
        ("hello @octocat", "@octocat"),
        ("&#64;octocat", "&#64;octocat"),
        ("see #12", "#12"),
        ("Fixes #12", "Fixes #12"),
        ("closes https://github.com/a/b/issues/1", "closes https"),
        ("![x](https://evil.example/p.png)", "!["),
        ('<img src="https://evil.example/p.png">', "<img"),
        ("<!-- other: marker -->", "<!--"),
        ("<script>alert(1)</script>", "<script"),
        ('<details ontoggle="x">', "<details o"),
        ("a\u202eb\x00", "\u202e"),
        ("a\u202eb\x00", "\x00"),
        ('A@{ img: "https://evil.example" }', "@{"),
    ],
)
def test_sanitize_removes_what_can_do_harm(markdown: str, gone: str) -> None:
    assert gone not in sanitize_markdown(markdown)


@pytest.mark.parametrize(
    "markdown",
    [
        "| metric | champion |\n| --- | --- |\n| roc_auc | 0.71 < 0.72 |",
        "<details><summary>Slices</summary>\n\n</details>",
        "<details open>",
        "```mermaid\nxychart-beta\n    line [1, 2]\n```",
        "# 1 heading, a & b, 5 > 3, [link](https://example.org)",
    ],
)
def test_sanitize_leaves_a_report_as_it_is(markdown: str) -> None:
    assert sanitize_markdown(markdown) == markdown


def test_truncate_keeps_what_fits() -> None:
    assert truncate_markdown("short") == "short"


def test_truncate_closes_what_is_open_within_the_limit() -> None:
    rows = "\n".join(f"| row {number} | value |" for number in range(9_000))
    found = truncate_markdown(f"# Report\n<details><summary>Rows</summary>\n\n```\n{rows}\n```\n</details>")
    assert len(found) <= MAX_BODY_CHARACTERS and "was cut here" in found
    assert found.count("```") % 2 == 0 and found.count("<details>") == found.count("</details>")
