import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace

from modelyard.automation import tune
from modelyard.core.errors import UserError
from modelyard.core.params import DataParams, EvaluateParams, Params, SearchRange, SweepParams, TrainParams, load_params
from modelyard.core.yaml import dump_yaml, parse_yaml

pytestmark = pytest.mark.usefixtures("project")
RIDGE = TrainParams("sklearn.linear_model.Ridge", {"alpha": 1.0})
TABLE = pd.DataFrame(
    {
        "x": range(400),
        "y": [0, 1] * 200,
        "when": pd.date_range("2024-01-01", periods=100).repeat(4),
        "who": np.arange(400) // 5 % 40,
    }
)


def ours(params: Params, space: dict[str, Any], **options: Any) -> Params:
    return replace(params, train=RIDGE, sweep=SweepParams(**{"space": space, **options}))


def data(**options: Any) -> DataParams:
    return DataParams(**{"path": "", "target": "y", "task": "classification", "features": ["x"], **options})


def small(trials: int = 3) -> Params:
    """Write parameters with a quick model and few trials."""
    document = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    ridge = document["data"]["task"] == "regression"
    estimator, name, bad = ("Ridge", "alpha", 1e9) if ridge else ("LogisticRegression", "C", 1e-9)
    document["train"] |= {"estimator": f"sklearn.linear_model.{estimator}", "arguments": {name: bad}}
    document["evaluate"]["metric"] = "rmse" if ridge else "log_loss"
    document["sweep"] = {"trials": trials, "folds": 2, "space": {name: {"low": 1e-6, "high": 10.0, "log": True}}}
    Path("params.yaml").write_text(dump_yaml(document), encoding="utf-8")
    return load_params()


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ({}, "sweep.space is empty"),
        ({"alpha": []}, "cannot be searched"),
        ({"alpha": SearchRange(2, 1)}, "cannot be searched: .*low <= high"),
        ({"alpha": SearchRange(0, 1, log=True)}, "cannot be searched: .*low >= 1"),
    ],
)
def test_a_bad_space_is_one_sentence(params: Params, space: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        tune.build_search_space(ours(params, space))


@pytest.mark.parametrize("rule", [3, {"low": 1}, {"low": "a", "high": "b"}, {"low": 1, "high": 2, "step": 1}, [[1]]])
def test_a_rule_that_is_neither_list_nor_range_is_one_sentence(rule: object) -> None:
    document = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    document["sweep"]["space"] = {"alpha": rule}
    Path("params.yaml").write_text(dump_yaml(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"sweep\.space"):
        tune.main()


@pytest.mark.parametrize("options", [{"trials": 0}, {"folds": 0}])
def test_no_trials_or_folds_are_refused(options: dict[str, int]) -> None:
    document = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    document["sweep"] |= options
    Path("params.yaml").write_text(dump_yaml(document), encoding="utf-8")
    with pytest.raises(UserError, match=r"sweep\."):
        tune.main()


def test_an_argument_that_the_estimator_does_not_have_is_one_sentence(params: Params) -> None:
    wrong = replace(params, data=data(), train=replace(RIDGE, arguments={"alpah": 1}))
    with pytest.raises(UserError, match="alpah"):
        tune.score_fold(wrong, (TABLE, TABLE))


def test_the_projects_own_space_is_good(params: Params) -> None:
    assert list(tune.build_search_space(params)) == list(params.sweep.space)


def parts(params: Params, table: pd.DataFrame = TABLE, **options: Any) -> list[tune.Fold]:
    Path("schema.yaml").write_text("columns: {}\n", encoding="utf-8")
    return tune.make_folds(replace(params, data=data(**options), sweep=SweepParams(folds=3)), table)


def test_folds_by_time_learn_from_the_past(params: Params) -> None:
    found = parts(params, time="when")
    assert len(found) == 3
    assert all(learned["when"].max() < held["when"].min() for learned, held in found)


@pytest.mark.parametrize("time", [None, "when"])
def test_folds_by_group_part_no_group(params: Params, time: str | None) -> None:
    for learned, held in parts(params, group="who", time=time):
        assert not set(learned["who"]) & set(held["who"])


def test_folds_differ_and_keep_the_classes_shares(params: Params) -> None:
    found = [held for _, held in parts(params)]
    assert [held["y"].mean() for held in found] == [0.5, 0.5, 0.5]
    assert not found[0].index.equals(found[1].index)


def test_a_metric_that_no_fold_defines_is_one_sentence(params: Params) -> None:
    logistic = TrainParams("sklearn.linear_model.LogisticRegression")
    ours = replace(params, data=data(), train=logistic, evaluate=EvaluateParams("roc_auc"))
    with pytest.raises(UserError, match="not defined on any fold"):
        tune.average_fold_scores("roc_auc", np.array([tune.score_fold(ours, (TABLE, TABLE[TABLE["y"] == 0]))]))


def test_folds_that_cannot_be_are_refused(params: Params) -> None:
    with pytest.raises(UserError, match="without rows"):
        parts(params, TABLE.assign(who=1), group="who")


def test_better_arguments_are_written_and_a_second_call_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    params = small()
    assert tune.main(track=False) == 0
    assert "as it was" in capsys.readouterr().out
    (name,) = params.sweep.space
    assert load_params().train.arguments[name] not in (1e9, 1e-9)
    before = Path("params.yaml").read_bytes()
    tune.main(track=False)
    assert Path("params.yaml").read_bytes() == before


def test_stopped_it_changes_nothing_and_goes_on_later(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small()
    before, score, calls = Path("params.yaml").read_bytes(), tune.score_fold, []

    def stop(*arguments: Any) -> float:
        calls.append(1)
        if len(calls) == 3:  # in the first fold of the second trial
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(tune, "score_fold", stop)
    assert tune.main(track=False) == 130
    assert Path("params.yaml").read_bytes() == before
    assert "stopped after 1 of 3 trials" in capsys.readouterr().out
    monkeypatch.setattr(tune, "score_fold", lambda *_: calls.append(1) or 0.5)
    assert tune.main(track=False) == 0
    assert len(calls) == 3 + 2 * 2  # two trials were missing, of two folds each


def test_another_question_is_another_study() -> None:
    params = small(1)
    one = tune.open_study(params).study_name
    assert one == tune.open_study(params).study_name
    assert one != tune.open_study(replace(params, sweep=replace(params.sweep, folds=3))).study_name
    assert one != tune.open_study(replace(params, data=replace(params.data, target="another"))).study_name


def test_comments_and_the_rest_stay_when_arguments_are_written() -> None:
    params = small(1)
    (name,) = params.sweep.space
    text = Path("params.yaml").read_text(encoding="utf-8")
    text = re.sub(rf"    {name}: .*", r"\g<0>  # why", text, count=1)
    Path("params.yaml").write_text(text.replace("evaluate:", "# mine\nevaluate:"), encoding="utf-8")
    tune.main(track=False)
    now = Path("params.yaml").read_text(encoding="utf-8")
    assert "# why" in now
    assert "# mine\nevaluate:" in now


def test_a_missing_pipeline_is_said() -> None:
    Path("data/train.parquet").unlink()
    with pytest.raises(UserError, match="make pipeline"):
        tune.main(track=False)
