import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from msgspec.structs import replace as with_

from modelyard.core import predictions
from modelyard.core.errors import UserError
from modelyard.core.params import MonitorParams, Params
from modelyard.core.predictions import to_log_column
from modelyard.monitoring import performance, quality, run, service, signals
from modelyard.monitoring.log_reader import with_id_and_time
from modelyard.monitoring.signals import Signal
from modelyard.monitoring.windows import (
    ReferenceData,
    Window,
    WindowCollector,
    cast_columns,
    load_reference,
    locate_reference_files,
)
from modelyard.statistics.comparison import ConfidenceInterval

RNG = np.random.default_rng(0)
MONDAY = pd.Timestamp("2024-06-03", tz="UTC")
WEEK = pd.Timedelta(days=7)
RULES = MonitorParams(minimum=100, history=4)


def table(rows: int, seed: int = 0, shift: float = 0.0, letters: str = "abcd") -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(shift, 1, rows), "y": rng.choice(list(letters), rows)})


def said(rows: int, seed: int = 0, lift: float = 0.0, noise: float = 1.0) -> pd.DataFrame:
    """Scores and the truth that follows them, more or less."""
    rng = np.random.default_rng(seed)
    score = np.clip(rng.beta(2, 4, rows) + lift, 0, 1)
    truth = np.where(rng.random(rows) < noise, rng.random(rows) < score, rng.random(rows) < score.mean())
    frame = pd.DataFrame({"prediction": (score > 0.5).astype(int), "p_0": 1 - score, "p_1": score})
    return frame.assign(truth=truth.astype(int))


def make(rows: pd.DataFrame, answers: pd.DataFrame | None = None, week: int = 0, labels: bool = False) -> Window:
    answers = said(len(rows), 5) if answers is None else answers
    told = answers if labels else answers.head(0)
    raw, unread = cast_columns(rows, REF.raw)
    return Window(MONDAY + WEEK * week, len(rows), answers.drop(columns="truth"), told, raw, unread)


REF = ReferenceData("m" * 64, table(10_000), table(10_000), said(8000))


@pytest.fixture
def ours(params: Params) -> Params:
    """Parameters of a small classification, whatever the project's own are."""
    data = with_(params.data, task="classification", features=["x", "y"], target="z", time=None)
    return with_(params, data=data, evaluate=with_(params.evaluate, metric="roc_auc", cost=None), monitor=RULES)


def features_of(windows: list[Window], ours: Params) -> dict[str, Signal]:
    return {s.name: s for s in signals.feature_drift(ours, REF, windows, 0.001)}


def test_calm_rows_are_in_order(ours: Params) -> None:
    found = features_of([make(table(1000, seed)) for seed in (1, 2, 3)], ours)
    assert [s.state for s in found.values()] == ["ok", "ok"]


def test_drift_needs_persistence(ours: Params) -> None:
    calm, moved = make(table(1000, 1)), make(table(1000, 2, shift=1))
    assert features_of([calm, calm, moved], ours)["x"].state == "ok"
    assert features_of([calm, moved, moved], ours)["x"].state == "notice"
    assert features_of([moved, moved, calm, calm], ours)["x"].state == "ok"


def test_windows_of_few_rows_are_not_judged(ours: Params) -> None:
    found = features_of([make(table(50, seed, shift=3)) for seed in (1, 2, 3)], ours)
    assert {s.state for s in found.values()} == {"unjudged"}


def test_a_new_category_is_explained(ours: Params) -> None:
    found = features_of([make(table(1000, seed, letters="abcdz")) for seed in (1, 2)], ours)
    assert found["y"].moved[0]["value"] == "values never seen"
    assert "values never seen: 0%" in signals.describe(found["y"], RULES)


@pytest.mark.parametrize(("weights", "state"), [({"x": 0.9}, "warning"), ({"x": 0.01}, "notice"), ({}, "notice")])
def test_drift_weighs_what_the_column_carries(weights: dict[str, float], state: str) -> None:
    signal = Signal("feature", "x_hour", [1.0], [0.1], "notice")
    signals.escalate_by_importance([signal], weights, 0.1)
    assert signal.state == state
    assert signal.importance == weights.get("x")


def test_moved_scores_are_a_warning(ours: Params) -> None:
    windows = [make(table(1000, s), said(1000, s, lift=0.3)) for s in (1, 2)]
    assert [s.state for s in signals.prediction_drift(ours, REF, windows, 0.001)] == ["warning", "warning"]


def test_score_is_one_number_a_row() -> None:
    three = pd.DataFrame({"prediction": ["a", "c"], "p_a": [0.6, 0.1], "p_b": [0.3, 0.1], "p_c": [0.1, 0.8]})
    assert predictions.compute_scores(three, three).tolist() == [0.6, 2.8]
    assert predictions.compute_scores(
        three[["prediction"]].assign(prediction=[1.0, 2.0]), three[["prediction"]]
    ).tolist() == [
        1,
        2,
    ]


def watched_performance(windows: list[Window], ours: Params) -> list[Signal]:
    return performance.model_performance(ours, REF, windows)


def test_measured_performance_in_order(ours: Params) -> None:
    measured, estimated = watched_performance([make(table(3000, s), said(3000, s), labels=True) for s in (1, 2)], ours)
    assert (measured.state, estimated.state) == ("ok", "unjudged")
    assert all(low < measured.base < high for _, low, high in filter(None, measured.shown))


def test_a_measured_loss_is_critical_and_a_trigger(ours: Params) -> None:
    windows = [make(table(3000, s), said(3000, s, noise=0.2), labels=True) for s in (1, 2)]
    signal = watched_performance(windows, ours)[0]
    signal.sentence = signals.describe(signal, RULES)
    assert signal.state == "critical"
    assert "on the holdout" in run.find_retrain_triggers([signal])["performance"]


def test_a_gain_is_no_loss(ours: Params) -> None:
    better = said(3000, 1).assign(truth=lambda f: (f["p_1"] > 0.3).astype(int))
    assert watched_performance([make(table(3000, 1), better, labels=True)] * 2, ours)[0].state == "ok"


def test_without_labels_performance_is_estimated(ours: Params) -> None:
    answers = said(1000, 3)
    answers[["p_0", "p_1"]] = [0.7, 0.3] + RNG.normal(0, 0.01, (1000, 1)) * [1, -1]
    measured, estimated = watched_performance([make(table(1000, 3), answers)] * 2, ours)
    assert (measured.state, estimated.kind, estimated.state) == ("unjudged", "estimate", "notice")
    assert "is estimated at" in signals.describe(estimated, RULES)


def test_labels_of_one_class_are_not_judged(ours: Params) -> None:
    assert (
        watched_performance([make(table(500, 1), said(500, 1).assign(truth=0), labels=True)], ours)[0].state
        == "unjudged"
    )


@pytest.mark.parametrize("truth", [[1, 0] * 200, ["1", "0"] * 200, [1.0, 0.0] * 200, [True, False] * 200])
def test_truth_in_any_spelling(truth: list[Any]) -> None:
    codes, _ = performance.encode_labelled_rows(REF, said(400).assign(truth=pd.Series(truth, dtype=object)))
    assert codes.tolist() == [1, 0] * 200


def test_truth_that_is_no_class_is_left_out() -> None:
    codes, scores = performance.encode_labelled_rows(REF, said(4).assign(truth=["1", "maybe", "0", "2"]))
    assert codes.tolist() == [1, 0]
    assert len(scores) == 2


def test_losses_of_errors_count_upwards(ours: Params) -> None:
    base, worse = (ConfidenceInterval("log_loss", v, v - 0.02, v + 0.02, 0.01, "paired mean") for v in (1.0, 1.5))
    lower = with_(ours, evaluate=with_(ours.evaluate, metric="log_loss"))
    assert performance.performance_drop(lower, "performance", base, [worse, None]).values == [0.5, None]


@pytest.mark.parametrize(
    ("spec", "column", "share"),
    [
        ({"dtype": "float64", "in_range": {"min_value": -1, "max_value": 1}}, [0.0, 2.0, None, 0.5], 0.5),
        ({"dtype": "float64", "nullable": True}, [0.0, 2.0, None, 0.5], 0.0),
        ({"dtype": "str", "isin": ["a", "b"]}, ["a", "b", "c", "c"], 0.5),
        ({"dtype": "int64", "in_range": {"min_value": 0, "max_value": 9}}, [1.0, 2.0, 2.5, 10.0], 0.5),
        ({"dtype": "datetime64[us]"}, list(pd.to_datetime(["2024-01-01", None])), 0.5),
    ],
)
def test_quality_is_the_share_that_breaks_the_schema(spec: dict[str, Any], column: list[Any], share: float) -> None:
    assert quality.compute_violation_share(quality.parse_column_rule("x", spec), pd.Series(column), 0.0) == share


def test_quality_counts_what_cannot_be_read() -> None:
    raw, unread = cast_columns(pd.DataFrame({"x": ["1", "?", None, "2"], "y": list("abcd")}), REF.raw)
    assert raw["x"].tolist()[0] == 1.0
    assert unread == {"x": 0.25, "y": 0.0}


@pytest.mark.parametrize(("share", "state"), [(0.0, "ok"), (0.1, "warning"), (0.9, "critical")])
def test_one_broken_window_is_enough(
    ours: Params, share: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schema.yaml").write_text("columns: {x: {dtype: float64}, y: {dtype: str, isin: [a, b, c, d]}}\n")
    monkeypatch.chdir(tmp_path)
    rows = table(1000, 1)
    rows.loc[: int(1000 * share) - 1, "y"] = "z"
    found = {s.name: s.state for s in quality.data_quality(ours, REF, [make(rows)])}
    assert found == {"x": "ok", "y": state}


@pytest.mark.parametrize(
    ("rows", "state"),
    [((100, 100, 100), "ok"), ((100, 100, 30), "notice"), ((100, 100, 0), "critical"), ((9,), "unjudged")],
)
def test_traffic_that_stays_away_is_said(rows: tuple[int, ...], state: str) -> None:
    windows = [replace(make(table(10)), rows=count) for count in rows]
    assert service.traffic_drop(RULES, windows).state == state


METRICS = """# HELP requests_total Requests
requests_total{path="/predict",status="200"} 980.0
requests_total{path="/predict",status="500"} 20.0
request_seconds_bucket{le="0.01",path="/predict"} 950.0
request_seconds_bucket{le="0.5",path="/predict"} 995.0
request_seconds_bucket{le="+Inf",path="/predict"} 1000.0
request_seconds_count{path="/predict"} 1000.0
log_lines_lost_total 3.0
"""


def test_service_metrics(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text(METRICS)
    found = service.service_health(MonitorParams(milliseconds=100), run.scrape_metrics(str(tmp_path / "metrics")))
    assert [s.last[0] for s in found] == [0.02, 500, 3]
    assert [s.state for s in found] == ["critical", "warning", "notice"]


@pytest.mark.parametrize("source", ["nowhere", "http://127.0.0.1:9/metrics", Path("/dev/null").as_uri()])
def test_service_that_does_not_answer(source: str) -> None:
    with pytest.raises(UserError, match="METRICS is"):
        run.scrape_metrics(source)


def test_windows_lie_on_one_grid(ours: Params) -> None:
    nows = [MONDAY + pd.Timedelta(hours=h) for h in (0, 1, 100, 167)]
    assert {WindowCollector(ours, "m", now, 9).starts[-1] for now in nows} == {MONDAY - WEEK}


def part(time: str, count: int = 5, model: str = "m", start: int = 0) -> pd.DataFrame:
    return pd.DataFrame({"id": [f"{time}{i + start}" for i in range(count)], "time": time, "model": model})


def test_collector_puts_rows_into_their_windows(ours: Params) -> None:
    collector = WindowCollector(ours, "m", MONDAY + pd.Timedelta(days=1), 100)
    for piece in (
        part("2024-05-28T00:00:00Z"),
        part("2024-05-21T00:00:00Z"),
        part("2024-06-03T10:00:00Z"),  # its window is not over
        part("2030-01-01T00:00:00Z"),
        part("1970-01-01T00:00:00Z"),
        part("2024-05-28T00:00:00Z", model="other", start=9),
        part("2024-05-28T00:00:00Z", start=20).drop(columns="model"),
    ):
        collector.add(with_id_and_time(piece, collector.tally))
    assert [w.rows for w in collector.windows(pd.DataFrame())] == [0, 0, 5, 5]
    assert collector.tally.counts["in the future"] == 5
    assert collector.tally.counts["of another model"] == 5
    assert collector.tally.counts["of no model"] == 5


def write_logs(params: Params, weeks: int = 3, rows: int = 250, model: str | None = None, **more: Any) -> None:
    """Logs like the project's own data, one week after the other up to Monday, with all labels."""
    ref = load_reference(params)
    held, said = pd.read_parquet("data/holdout.parquet"), ref.predictions.drop(columns="truth")
    Path("logs").mkdir(exist_ok=True)
    for week in range(weeks):
        some = np.random.default_rng(week).integers(len(held), size=rows)
        ids = [f"{week}-{i}" for i in range(rows)]
        times = MONDAY - WEEK * (weeks - week) + pd.to_timedelta(np.linspace(0, 6.9, rows), unit="D")
        about = pd.DataFrame({"id": ids, "time": times.astype(str), "model": model or ref.model})
        parts = [
            about,
            said.iloc[some],
            held[params.data.features].iloc[some].assign(**more).rename(columns=to_log_column),
        ]
        frame = pd.concat([part.reset_index(drop=True) for part in parts], axis=1)
        frame.to_json(f"logs/predictions-{week}.jsonl", orient="records", lines=True, date_format="iso")
        truth = {"id": ids, "truth": held[params.data.target].iloc[some].to_numpy(), "time": str(MONDAY)}
        pd.DataFrame(truth).to_json(f"logs/feedback-{week}.jsonl", orient="records", lines=True)


@pytest.fixture
def local(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project without a deployed model."""
    monkeypatch.setattr("modelyard.core.git_objects.read_yaml_at", lambda *_: None)
    return project


@pytest.mark.usefixtures("local")
def test_main_writes_json_markdown_and_one_page(params: Params, capsys: pytest.CaptureFixture[str]) -> None:
    write_logs(params)
    assert run.main(until="2024-06-03") == 0
    found = json.loads(Path("reports/monitor.json").read_text())
    assert [w["rows"] for w in found["windows"][-3:]] == [250, 250, 250]
    assert {s["kind"] for s in found["signals"]} >= {"feature", "prediction", "quality", "traffic"}
    assert "750 predictions" in capsys.readouterr().out
    page = Path("reports/monitor.html").read_text()
    assert "<svg" in page and "http://" not in page and "https://" not in page
    assert Path("reports/monitor.md").read_text().startswith("## ")


@pytest.mark.usefixtures("local")
def test_main_reads_duplicated_and_half_written_logs(params: Params) -> None:
    write_logs(params)
    whole = Path("logs/predictions-2.jsonl").read_text()
    Path("logs/predictions-3.jsonl").write_text(whole[:-40])
    Path("logs/predictions-4.parquet").write_bytes(b"PAR1")
    run.main(until="2024-06-03")
    found = json.loads(Path("reports/monitor.json").read_text())
    counts = found["logs"]["counts"]
    assert (counts["broken lines"], counts["repeated, in the samples"]) == (1, 249)
    assert list(found["logs"]["broken"]) == ["predictions-4.parquet"]


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("logs", "words"),
    [
        pytest.param(None, "has no predictions", id="no logs"),
        pytest.param({"model": "f" * 64}, "only predictions of other models", id="another model"),
        pytest.param({}, "lies in the last", id="too old"),
    ],
)
def test_main_without_anything_to_judge(params: Params, logs: dict[str, Any] | None, words: str) -> None:
    if logs is not None:
        write_logs(params, **logs)
    with pytest.raises(UserError, match=words):
        run.main(until="2026-01-01")


@pytest.mark.usefixtures("local")
def test_main_without_a_reference() -> None:
    Path("data/train.parquet").unlink()
    with pytest.raises(UserError, match=r"data/train\.parquet missing"):
        run.main()


def test_reference_of_a_deployed_model_lies_in_the_cache(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("data/train.parquet", "data/holdout.parquet", "reports/predictions.parquet")
    lock = {"stages": {"all": {"outs": [{"path": name, "md5": f"{i}" * 32} for i, name in enumerate(names)]}}}
    monkeypatch.setattr("modelyard.core.git_objects.read_yaml_at", lambda *_: lock)
    for i, name in enumerate(names):
        place = Path(f".dvc/cache/files/md5/{i}{i}/{f'{i}' * 30}")
        place.parent.mkdir(parents=True)
        Path(name).rename(place)
    model, places = locate_reference_files({"model": "a" * 64, "commit": "c0ffee"})
    assert model == "a" * 64
    assert all(pd.read_parquet(place).shape[0] for place in places.values())


@pytest.mark.usefixtures("local")
def test_importance_is_worked_out_once(params: Params) -> None:
    model = load_reference(params).model
    shares = run.load_importance_shares(params, model)
    assert sum(shares.values()) == pytest.approx(1) or not any(shares.values())
    Path("models/model.skops").unlink()
    assert run.load_importance_shares(params, model) == shares


def test_time_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match="UNTIL=soon is no time; write a day"):
        run.parse_timestamp("soon")
    assert run.parse_timestamp("2024-06-03") == MONDAY
