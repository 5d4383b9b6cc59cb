from datetime import timedelta
from pathlib import Path

import pytest

from modelyard.core import params
from modelyard.core.errors import InvalidFileError, MissingFileError, SettingError
from modelyard.core.paths import PARAMS_YAML


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("seed: ", "sead: "), "sead"),
        (("  target: ", "  tarket: "), "tarket"),
        (("  holdout: ", "  holdout: much  # "), r"split\.holdout"),
        (("data:\n", "data: [\n"), "is not valid"),
        (("seed: ", "seed: 2024-13-45  # "), "is not valid"),
    ],
)
def test_load_params_names_what_is_invalid(change: tuple[str, str], words: str) -> None:
    text = PARAMS_YAML.read_text(encoding="utf-8")
    assert change[0] in text
    PARAMS_YAML.write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(InvalidFileError, match=words) as refusal:
        params.load_params()
    assert refusal.value.path == PARAMS_YAML


def test_load_params_without_a_file() -> None:
    PARAMS_YAML.unlink()
    with pytest.raises(MissingFileError) as refusal:
        params.load_params()
    assert refusal.value.path == PARAMS_YAML


def test_a_block_has_defaults() -> None:
    assert params.SplitParams().holdout == 0.2


def test_feedback_for_all_names_keys_only() -> None:
    with pytest.raises(ValueError, match="names nobody, which"):
        params.ServeParams(feedback_for_all=["nobody"])


def test_the_judge_of_a_branch_ignores_keys_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    text = PARAMS_YAML.read_text(encoding="utf-8")
    PARAMS_YAML.write_text(f"{text}\nlater: 1\n".replace("split:\n", "split:\n  later: 1\n", 1), encoding="utf-8")
    monkeypatch.setenv(params.GATE_RULES_VARIABLE, "main")
    assert params.load_params().split == params.SplitParams()


def test_unknown_keys_of_a_section_that_may_be_null_are_dropped() -> None:
    start = dict.fromkeys(params.StartParams.__struct_fields__, "x")
    found = params.drop_unknown_keys({"start": start | {"later": 1}}, params.TrainParams)
    assert found == {"start": start}
    assert params.drop_unknown_keys({"start": None}, params.TrainParams) == {"start": None}


def test_drop_unknown_keys_keeps_what_is_no_block() -> None:
    assert params.drop_unknown_keys([1], params.SplitParams) == [1]


@pytest.mark.parametrize(("text", "duration"), [("7d", timedelta(days=7)), ("12h", timedelta(hours=12))])
def test_parse_duration(text: str, duration: timedelta) -> None:
    assert params.parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "d", "7", "7w", "-1d", "1.5h"])
def test_parse_duration_refuses_other_text(text: str) -> None:
    with pytest.raises(SettingError, match="7d or 12h"):
        params.parse_duration(text)


def test_every_parameter_is_documented() -> None:
    for section in params.ParamsSection.__subclasses__():
        documented = [line.strip() for line in str(section.__doc__).splitlines()]
        assert [name for name in section.__struct_fields__ if name not in documented] == [], section


def test_a_file_of_params_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_bytes(PARAMS_YAML.read_bytes())
    assert params.load_params(path) == params.load_params()
