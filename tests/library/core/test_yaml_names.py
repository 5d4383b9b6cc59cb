"""Any name of a column comes back as it was, whoever writes the YAML and whoever reads it: we, DVC, or YAML 1.1."""

from pathlib import Path
from typing import Any

import yaml
from dvc.utils.serialize import dump_yaml as dump_as_dvc
from dvc.utils.serialize import load_yaml as load_as_dvc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core.yaml import dump_yaml, parse_yaml
from modelyard.core.yaml_edit import YamlEditor
from modelyard.workspace.infer_schema import to_flow_style
from tests.library.core.test_yaml import NUMBERS, OTHERS, WORDS

SIGNS = ["${x}", "{a", "[b]", "a,b", "!x", "&y", "*z", "|", ">", "?", "- ", "a #b", "two\nlines", "\x85", ":0"]
HARD = [*WORDS, *NUMBERS, *OTHERS, *SIGNS]
NAMES = st.lists(
    st.sampled_from(HARD) | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
    max_size=6,
    unique=True,
)
PARAMS = "# ours\ndata:\n  features: []  # columns\n  left_out: {}\n"
one_file = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def make_blocks(names: list[str]) -> dict[str, Any]:
    """Return names at every place where params.yaml and schema.yaml hold some."""
    return {"features": names, "left_out": {name: name for name in names}, "slices": names, "floors": {}}


@one_file
@given(names=NAMES)
def test_edited_yaml_keeps_every_name_for_every_reader(names: list[str], tmp_path: Path) -> None:
    editor, path = YamlEditor(PARAMS), tmp_path / "params.yaml"
    editor.document["data"].update(make_blocks(names) | {"slices": to_flow_style(names)})
    path.write_text(editor.to_yaml(), encoding="utf-8")
    found = parse_yaml(path.read_bytes())
    assert found == load_as_dvc(path) == yaml.safe_load(path.read_bytes()) == {"data": make_blocks(names)}


@one_file
@given(names=NAMES)
def test_yaml_that_dvc_wrote_keeps_every_name(names: list[str], tmp_path: Path) -> None:
    """As dvc.lock: DVC quotes by YAML 1.2, so only a reader of that is right."""
    path = tmp_path / "dvc.lock"
    dump_as_dvc(path, make_blocks(names))
    assert parse_yaml(path.read_bytes()) == make_blocks(names)


@one_file
@given(names=NAMES)
def test_yaml_that_we_wrote_keeps_every_name_for_dvc(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(dump_yaml(make_blocks(names)), encoding="utf-8")
    assert load_as_dvc(path) == make_blocks(names)
