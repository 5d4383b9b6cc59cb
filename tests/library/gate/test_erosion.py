from pathlib import Path

import numpy as np
import pytest

from modelyard.core.files import write_json
from modelyard.core.model_at import Champion
from modelyard.core.params import load_params
from modelyard.core.paths import METRICS_JSON, MODEL_FILE
from modelyard.core.predictions import Predictions
from modelyard.core.yaml import dump_yaml
from modelyard.gate import erosion, scoring
from tests.library.gate.support import PARAMS, change, commit_all, make_difference, make_repository, train

NO_ROWS = scoring.JudgedRows(None, None, None)  # type: ignore[arg-type]  # where no model is scored again


def record(**values: float) -> str:
    """Commit a model with the metrics that main measured for it."""
    train(depth=len(values) + sum(values.values()))
    write_json(METRICS_JSON, values)
    return commit_all()


def check(source: str, candidate: float) -> list[tuple[bool, str]]:
    """The lines of the rule for a candidate with this AUC, whose champion has 0.7."""
    MODEL_FILE.write_text("the candidate")
    scored = scoring.ChampionScores(Champion(source), Predictions(np.zeros(0)), np.zeros(0, bool), [])
    primary = make_difference(candidate - 0.7, error=0.002)
    found = erosion.check_cumulative_drop(PARAMS, "main", scored, NO_ROWS, scored.predictions, primary)
    return [(rule["passed"], rule["sentence"]) for rule in found]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_repository()
    monkeypatch.setattr(erosion, "compare_with_commit", lambda *_: None)  # by the recorded values


@pytest.mark.parametrize(("difference", "passes"), [(-0.015, True), (-0.025, False)])
def test_drop_blocks_at_two_margins(difference: float, passes: bool) -> None:
    assert erosion.build_drop_result(make_difference(difference), -0.02, "since")["passed"] is passes


def test_drop_allows_for_the_choice_of_the_best_model() -> None:
    found = make_difference(-0.025, error=0.008)  # the interval ends at -0.0093
    assert not erosion.build_drop_result(found, -0.02, "since")["passed"]
    assert erosion.build_drop_result(found, -0.02, "since", allowance=0.01)["passed"]


@pytest.mark.parametrize(("count", "errors"), [(1, 0.0), (9, 0.81)])
def test_the_allowance_grows_with_the_choice(count: int, errors: float) -> None:
    assert erosion.compute_choice_allowance(make_difference(0.0, error=1.0), count) == pytest.approx(errors, abs=0.01)


@pytest.mark.usefixtures("repository")
def test_small_losses_on_main_add_up_before_a_promotion() -> None:
    for value in (0.73, 0.72, 0.71, 0.70):
        record(roc_auc=value)
    ((passed, sentence),) = check("base", 0.695)
    assert not passed and sentence.startswith("-0.035 against the best model of the base's history")


@pytest.mark.usefixtures("repository")
def test_a_loss_of_a_margin_is_not_looked_at() -> None:
    record(roc_auc=0.70)
    assert check("base", 0.691) == []


@pytest.mark.usefixtures("repository")
def test_a_dummy_has_lost_nothing() -> None:
    record(roc_auc=0.75)
    assert check("dummy", 0.69) == []


@pytest.mark.usefixtures("repository")
def test_the_base_own_model_has_lost_nothing() -> None:
    for value in (0.75, 0.70):
        record(roc_auc=value)
    model = MODEL_FILE.read_text()
    scored = scoring.ChampionScores(Champion("base"), Predictions(np.zeros(0)), np.zeros(0, bool), [])
    MODEL_FILE.write_text(model)
    primary = make_difference(0.0)
    assert not erosion.check_cumulative_drop(PARAMS, "main", scored, NO_ROWS, scored.predictions, primary)


@pytest.mark.usefixtures("repository")
def test_a_new_holdout_forgets_what_was_lost() -> None:
    record(roc_auc=0.75)
    change("split", seed=1)
    record(roc_auc=0.70)
    assert check("base", 0.695) == []


@pytest.mark.usefixtures("repository")
def test_a_promotion_forgets_what_was_lost_before_it() -> None:
    record(roc_auc=0.75)
    state = {"champion": {"model": "m", "commit": "c"}}
    Path("deploy").mkdir()
    Path("deploy/production.yaml").write_text(dump_yaml(state))
    record(roc_auc=0.70)
    ((passed, sentence),) = check("deployed", 0.695)
    assert passed and "since the last promotion" in sentence


def test_the_best_value_of_a_loss_is_the_lowest() -> None:
    models = [erosion.RecordedModel(str(value), "m", None, value) for value in (0.5, 0.4, 0.6)]
    assert erosion.pick_best_model(models, "log_loss").value == 0.4
    assert erosion.pick_best_model(models, "roc_auc").value == 0.6


@pytest.mark.usefixtures("here")
def test_an_earlier_model_is_scored_again_on_the_same_rows() -> None:
    rules, rows = scoring.load_rules_and_rows("HEAD", load_params())
    good = scoring.score_candidate(rules.params, rows.holdout).predictions
    assert good.probabilities is not None
    clean = np.ones(len(rows.holdout), bool)
    same = erosion.compare_with_commit(rules.params, "HEAD", rows, good, clean)
    assert same is not None and same.difference == 0
    turned = Predictions.from_probabilities(np.flip(good.probabilities, axis=1), good.classes)
    worse = erosion.compare_with_commit(rules.params, "HEAD", rows, turned, clean)
    assert worse is not None and worse.champion == same.champion and worse.difference != 0
