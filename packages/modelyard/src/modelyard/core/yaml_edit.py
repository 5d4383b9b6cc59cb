"""TODO doc."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelyard.core.files import atomic_write
from modelyard.core.yaml import is_ambiguous


def _represent_text(representer: Any, text: str) -> Any:
    """Write text; in quotes where a reader of YAML 1.1 or 1.2 would take it for something else."""
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style="'" if is_ambiguous(text) else None)


class YamlEditor:
    """A YAML file as a document that may be changed; comments, quotes and order stay, and null where it stood."""

    def __init__(self, text: str) -> None:
        from ruamel.yaml import YAML

        self.yaml = YAML()
        self.yaml.preserve_quotes, self.yaml.width = True, 4096
        self.yaml.indent(mapping=2, sequence=4, offset=2)
        self.yaml.representer.add_representer(
            type(None), lambda writer, _: writer.represent_scalar("tag:yaml.org,2002:null", "null")
        )
        self.yaml.representer.add_representer(str, _represent_text)
        self.document = self.yaml.load(text)

    def text(self) -> str:
        """The document as it is now."""
        buffer = io.StringIO()
        self.yaml.dump(self.document, buffer)
        return buffer.getvalue()


@contextmanager
def edit_yaml(path: Path) -> Iterator[Any]:
    """The document of a YAML file; when the block ends well the file holds what it has become."""
    editor = YamlEditor(path.read_text(encoding="utf-8"))
    yield editor.document
    with atomic_write(path) as draft:
        draft.write_text(editor.text(), encoding="utf-8")
