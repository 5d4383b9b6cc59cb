"""The gate on real branches of the rendered project: what each kind of change is told."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.template.support import LIBRARY, ROOT, BakedProject, edit

pytestmark = pytest.mark.slow

PARAMS, FEATURES = "params.yaml", "src/flight_delays/features.py"
Change = Callable[..., dict[str, Any]]


@pytest.fixture
def project(trained: BakedProject, tmp_path: Path) -> BakedProject:
    """A copy on a branch of its own."""
    copy = trained.copied(tmp_path)
    copy.run("git", "switch", "--quiet", "--create", "change")
    return copy


@pytest.fixture
def judged(project: BakedProject, environment: Path) -> Callable[[], dict[str, Any]]:
    """Runs the pipeline and the gate, and returns the verdict."""

    def inner(base: str = "main") -> dict[str, Any]:
        project.make("pipeline", VENV=str(environment), TRACK="0")
        project.commit("A change")
        project.make("gate", VENV=str(environment), BASE=base, check=False)
        return dict(json.loads(project.read("reports/verdict.json")))

    return inner


def weaken(project: BakedProject, trees: int) -> None:
    edit(project, PARAMS, r"max_iter: \d+", f"max_iter: {trees}")


def table(project: BakedProject, environment: Path, code: str) -> None:
    """Change the raw table with a line of pandas."""
    path = "data/raw/flights.parquet"
    script = f"import pandas as pd; t = pd.read_parquet({path!r}); {code}; t.to_parquet({path!r})"
    project.run(environment / "bin/python", "-c", script)


def notes(verdict: dict[str, Any]) -> str:
    return " ".join(verdict["notes"])


def failed(verdict: dict[str, Any]) -> set[str]:
    return {rule["name"] for rule in verdict["rules"] if not rule["passed"]}


def test_first_model_is_held_against_a_dummy(trained: BakedProject, environment: Path) -> None:
    trained.make("gate", VENV=str(environment), BASE="HEAD~1")
    verdict = json.loads(trained.read("reports/verdict.json"))
    assert (verdict["champion"]["source"], verdict["verdict"]) == ("dummy", "better")


def test_verdict_holds_what_the_docs_list(trained: BakedProject, environment: Path) -> None:
    """docs/gate.md names every key, nested ones included, and no other."""
    trained.make("gate", VENV=str(environment))
    verdict = json.loads(trained.read("reports/verdict.json"))
    listed = (ROOT / "docs/gate.md").read_text().split("## reports/verdict.json")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in listed.splitlines() if line.startswith("| `")]
    named = {key: set(re.findall(r"`(\w+)`", text)) for keys, text in rows for key in re.findall(r"`(\w+)`", keys)}
    assert set(verdict) == set(named)
    for key in ("champion", "candidate", "rows", "changes"):
        assert set(verdict[key]) == named[key]
    for key in ("metrics", "rules"):
        assert set(verdict[key][0]) == named[key]
    assert set(verdict["slices"][0]) == named["slices"] - {"metrics"}


def test_weaker_model_is_blocked(project: BakedProject, judged: Change) -> None:
    weaken(project, 15)
    verdict = judged()
    assert (verdict["verdict"], verdict["decision"]) == ("worse", "block")
    assert verdict["primary"]["high"] < 0 and verdict["rows"]["compared"] == 4092


def test_better_model_passes(project: BakedProject, judged: Change) -> None:
    weaken(project, 15)
    judged()
    project.run("git", "branch", "--quiet", "weak")
    weaken(project, 150)
    verdict = judged("weak")
    assert (verdict["verdict"], verdict["decision"]) == ("better", "pass")


def test_equal_model_passes(project: BakedProject, judged: Change) -> None:
    edit(project, PARAMS, "l2_regularization: 1.0", "l2_regularization: 1.001")
    verdict = judged()
    assert verdict["verdict"] in ("not worse", "better") and verdict["decision"] == "pass"
    assert verdict["candidate"]["model"] != verdict["champion"]["model"]


def test_same_model_is_unchanged(project: BakedProject, judged: Change) -> None:
    edit(project, "README.md", "^# ", "# The ")
    assert judged()["verdict"] == "unchanged"


def test_rows_that_a_new_split_gave_to_training_are_left_out(project: BakedProject, judged: Change) -> None:
    edit(project, PARAMS, "holdout: 0.2", "holdout: 0.1")
    verdict = judged()
    assert verdict["rows"]["left_out"] > 2000 and verdict["decision"] != "block"
    assert "left out" in notes(verdict) and "`split`" in notes(verdict)


def test_loosened_margin_is_judged_by_the_old_one(project: BakedProject, judged: Change) -> None:
    weaken(project, 15)
    edit(project, PARAMS, "margin: null", "margin: 0.9")
    verdict = judged()
    assert verdict["decision"] == "block" and "changes the rules (`gate`)" in notes(verdict)


def test_loosened_margin_that_is_not_committed_is_judged_by_the_old_one(
    project: BakedProject, environment: Path
) -> None:
    edit(project, PARAMS, "margin: null", "margin: 0.9")
    project.make("gate", VENV=str(environment), check=False)
    verdict = dict(json.loads(project.read("reports/verdict.json")))
    assert verdict["verdict"] == "unchanged" and "changes the rules (`gate`)" in notes(verdict)


def test_changed_gate_is_judged_by_the_old_code(project: BakedProject, judged: Change) -> None:
    weaken(project, 15)
    gate, params = f"{LIBRARY}/modelyard/gate/verdict.py", f"{LIBRARY}/modelyard/core/params.py"
    edit(project, gate, "is_blocked = .*", "is_blocked = False")
    later = r"class LaterParams(ParamsSection, frozen=True):\n    x: int\n\n\nclass Params("
    edit(project, params, r"^class Params\(", later)
    edit(project, params, "(    gate: GateParams = .*)", r"\1\n    later: LaterParams | None = None")
    edit(project, PARAMS, "^seed: 0", "seed: 0\nlater: {x: 1}")  # the old code does not know it
    verdict = judged()
    base = project.run("git", "rev-parse", "main").strip()
    assert (verdict["decision"], verdict["rules_from"]) == ("block", base)


def test_one_slice_that_became_worse_blocks(project: BakedProject, judged: Change) -> None:
    numbers = 'table.select_dtypes("number").columns'
    lost = f'    table.loc[table["carrier"] == "EV", {numbers}] = 0\n    return table'
    edit(project, PARAMS, "margin: null", "margin: 0.03")
    project.commit("A wider margin")
    project.run("git", "branch", "--quiet", "--force", "main")
    edit(project, FEATURES, "    return table", lost)
    verdict = judged()
    assert verdict["verdict"] != "worse" and failed(verdict) == {"slices"}
    assert verdict["decision"] == "block"


def test_column_that_knows_the_answer_is_blocked(project: BakedProject, judged: Change, environment: Path) -> None:
    table(project, environment, "t['gate_closed'] = t['late'] + 0.5")
    edit(project, PARAMS, "    - visib", "    - visib\n    - gate_closed")
    edit(project, "schema.yaml", "^  late:", "  gate_closed:\n    dtype: float64\n  late:")
    verdict = judged()
    assert verdict["decision"] == "block" and failed(verdict) == {"ceiling"}


def test_small_losses_since_the_promotion_add_up(project: BakedProject, judged: Change, environment: Path) -> None:
    promoted = judged("HEAD~1")["candidate"]["model"]
    project.make("promote", VENV=str(environment))
    project.commit("Promote")
    project.run("git", "branch", "--quiet", "promoted")
    weaken(project, 60)
    first = judged("promoted")
    project.run("git", "branch", "--quiet", "first")
    weaken(project, 20)
    second = judged("first")
    assert first["decision"] != "block"
    assert (second["champion"]["source"], second["champion"]["model"]) == ("deployed", promoted)
    assert second["decision"] == "block" and "drop" in failed(second)


def test_champion_that_is_nowhere_is_trained_again(project: BakedProject, judged: Change) -> None:
    edit(project, PARAMS, "l2_regularization: 1.0", "l2_regularization: 1.001")
    shutil.rmtree(project.path / ".dvc/cache")
    verdict = judged()
    assert (verdict["champion"]["source"], verdict["decision"]) == ("rebuilt", "pass")


def test_column_that_is_gone_trains_the_champions_recipe_again(
    project: BakedProject, judged: Change, environment: Path
) -> None:
    table(project, environment, "t = t.drop(columns='visib')")
    edit(project, PARAMS, "    - visib\n", "")
    edit(project, "schema.yaml", r"^  visib:.*\n(    .*\n)+", "")
    verdict = judged()
    assert verdict["champion"]["source"] == "retrained" and "no longer has its columns visib" in notes(verdict)
    assert verdict["verdict"] == "not worse"
    assert failed(verdict) == {"retarget"}  # what the champion can no longer show is for the base to allow


def test_base_that_does_not_exist_cannot_be_judged(trained: BakedProject, environment: Path) -> None:
    python = (environment / "bin/python", "-m", "modelyard", "gate", "--base", "nowhere")
    said = trained.run(*python, check=False, PYTHONPATH=LIBRARY)
    assert said.strip().count("\n") == 0 and said.startswith("error: ") and "nowhere" in said


@pytest.mark.parametrize(("trees", "code"), [(150, 0), (15, 1)])
def test_exit_code_is_the_decision(
    project: BakedProject, judged: Change, environment: Path, trees: int, code: int
) -> None:
    weaken(project, trees)
    judged()
    script = f"{environment}/bin/python -m modelyard gate --base main >/dev/null; echo $?"
    assert project.run("bash", "-c", script, PYTHONPATH=LIBRARY).strip() == str(code)


def test_report_says_the_verdict_first_and_stays_below_githubs_limit(
    project: BakedProject, judged: Change, environment: Path
) -> None:
    weaken(project, 15)
    verdict = judged()
    project.make("report", VENV=str(environment))
    report = project.read("reports/report.md")
    assert verdict["sentence"] in report.splitlines()[0] and len(report) < 65_536
    assert "train.arguments.max_iter" in report
    assert "<svg" in project.read("reports/report.html")
    assert "None" not in project.read("reports/model-card.md")


def test_another_holdout_is_the_rows_that_came_since(project: BakedProject, environment: Path) -> None:
    """`make holdout` says what the champion reaches on both; it refuses where no newer rows came."""
    options = {"VENV": str(environment), "TRACK": "0"}
    assert "only 0 rows are newer" in project.make("holdout", check=False, **options)
    table(project, environment, "t.to_parquet('all.parquet', index=False); t = t.sort_values('scheduled')[:-3000]")
    project.make("pipeline", **options)
    project.commit("Older rows")
    (project.path / "all.parquet").replace(project.path / "data/raw/flights.parquet")
    said = project.make("holdout", **options)
    assert "the champion's roc_auc: " in said and "on the new holdout: " in said
    assert re.search(r"window: .?2013-", project.read(PARAMS))
    assert "split.window: 2013-11-01" in project.make("holdout", WINDOW="2013-11-01", **options)
