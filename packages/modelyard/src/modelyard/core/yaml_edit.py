"""Changes YAML files and keeps the user's comments, quotes and order."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.files import atomic_write
from modelyard.core.yaml import is_ambiguous


class YamlEditor:
    """A YAML document that can be changed.

    Parameters
    ----------
    text
        The document as text.

    Attributes
    ----------
    document
        The document as nested mappings and lists, to be changed in place.
    """

    def __init__(self, text: str) -> None:
        from ruamel.yaml import YAML

        self.yaml = YAML()
        self.yaml.preserve_quotes = True
        self.yaml.width = 4096
        self.yaml.indent(mapping=2, sequence=4, offset=2)
        self.yaml.representer.add_representer(type(None), _represent_null)
        self.yaml.representer.add_representer(str, _represent_text)
        self.document = self.yaml.load(text)

    def to_yaml(self) -> str:
        """Return the document as text."""
        buffer = io.StringIO()
        self.yaml.dump(self.document, buffer)
        return buffer.getvalue()


@contextmanager
def edit_yaml(path: Path) -> Iterator[Any]:
    """Yield the document of a YAML file, and write its changes when the block succeeds."""
    editor = YamlEditor(path.read_text(encoding="utf-8"))
    yield editor.document
    with atomic_write(path) as draft:
        draft.write_text(editor.to_yaml(), encoding="utf-8")


def _represent_null(representer: Any, _: None) -> Any:
    """Write null as `null`."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _represent_text(representer: Any, text: str) -> Any:
    """Write text, in quotes where a reader of YAML 1.1 or 1.2 would not take it for that text."""
    style = None
    if not text.isprintable():
        style = '"'  # a line separator in it would be read as a line of the file
    elif is_ambiguous(text) or text.startswith(":") or "?" in text:  # PyYAML ends a plain text there, within [ ]
        style = "'"
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)
