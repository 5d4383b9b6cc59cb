from pathlib import Path

import pytest

from modelyard.core import files
from modelyard.core.errors import OptionError
from modelyard.workspace import remote


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "", "http://host"])
def test_scheme_of_another_address_is_refused(url: str) -> None:
    with pytest.raises(OptionError) as error:
        remote.parse_scheme(url)
    assert error.value.option == "URL"


@pytest.mark.parametrize(
    ("url", "kind"), [("s3://bucket/a", "s3"), ("/srv/dvc", ""), ("../dvc", ""), ("ssh://h/p", "ssh")]
)
def test_scheme_of_an_address(url: str, kind: str) -> None:
    assert remote.parse_scheme(url) == kind


def test_files_are_as_they_were_after_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text("before")
    with pytest.raises(KeyboardInterrupt), files.restore_files_on_error(file):
        file.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "before"
