from pathlib import Path

import pytest

from modelyard.core.yaml import parse_yaml
from modelyard.core.yaml_edit import YamlEditor, edit_yaml

TEXT = "# head\na: 'x'  # why\nb:\n  - 1\nc: null\n"


def test_an_unchanged_document_keeps_comments_quotes_and_null() -> None:
    assert YamlEditor(TEXT).to_yaml().replace("    - 1", "  - 1") == TEXT


@pytest.mark.parametrize("word", ["no", "null", "1e-3", "00:30", ""])
def test_text_that_looks_like_another_type_is_quoted(word: str) -> None:
    editor = YamlEditor(TEXT)
    editor.document["a"] = word
    assert parse_yaml(editor.to_yaml())["a"] == word


def test_edit_yaml_writes_when_the_block_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    with edit_yaml(path) as document:
        document["c"] = 2
    assert path.read_text().endswith("c: 2\n")


def test_edit_yaml_writes_nothing_when_the_block_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(TEXT)
    with pytest.raises(KeyError), edit_yaml(path) as document:
        document["c"] = 2
        raise KeyError
    assert path.read_text() == TEXT
