from pathlib import Path

import pytest

from modelyard.core import files
from modelyard.core.errors import UserError
from modelyard.workspace import remote


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "", "http://host"])
def test_address_that_nobody_serves_is_refused(url: str) -> None:
    with pytest.raises(UserError, match="is no remote; give s3://"):
        remote.parse_scheme(url)


@pytest.mark.parametrize(
    ("url", "kind"), [("s3://bucket/a", "s3"), ("/srv/dvc", ""), ("../dvc", ""), ("ssh://h/p", "ssh")]
)
def test_kind_is_the_scheme(url: str, kind: str) -> None:
    assert remote.parse_scheme(url) == kind


def test_files_are_as_they_were_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt), files.restore_files_on_error(file):
        file.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "before"
