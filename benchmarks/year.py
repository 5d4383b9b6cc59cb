"""A year of flights in time order: one model that is never retrained, one each week, one by policy.

`python -m benchmarks.year never weekly policy` replays them, each week once: what was interrupted goes on.
Without arguments it prints the tables of docs/monitoring.md. Everything that decides is the library's own: split,
training, evaluation, prediction logs, labels, monitoring, the retrain's switches and the gate's comparison.
"""

import contextlib
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from modelyard.automation.retrain import RetrainInputs, decide_retrain
from modelyard.core import paths
from modelyard.core.files import sha256
from modelyard.core.params import load_params
from modelyard.core.predictions import Predictions, encode_aligned
from modelyard.core.project import use_project_in
from modelyard.gate.pairs import PairedPredictions
from modelyard.monitoring.labels import join_labels
from modelyard.monitoring.run import monitor_model
from modelyard.pipeline import evaluate, split, train
from modelyard.pipeline.estimator import predict_frame
from modelyard.pipeline.model_file import load_model
from modelyard.pipeline.preprocessing import select_features
from modelyard.statistics.comparison import compute_difference, compute_interval, compute_row_counts, decide_verdict

from .monitoring import table
from .sample import KEYS, LATE_MINUTES, WEATHER, scheduled, tables
from .support import ROOT, settle

YEAR = ROOT / "build/year"
START = pd.Timestamp("2013-04-01", tz="UTC")  # a Monday; the first model knows January to March
WEEK = timedelta(days=7)
WEEKS = 40
DELAY = WEEK  # a week's truth comes a week later
ARMS = ("never", "weekly", "policy")


def flights() -> pd.DataFrame:
    """Every flight with its weather, in time order; `late` is missing where it never arrived."""
    table, weather = tables()
    table = table.sort_values(KEYS, kind="stable")
    hours = weather.drop_duplicates(["origin", "time_hour"])[["origin", "time_hour", *WEATHER]]
    table = table.merge(hours, on=["origin", "time_hour"], how="left", validate="many_to_one")
    late = (table["arr_delay"] >= LATE_MINUTES).astype(float).where(table["arr_delay"].notna())
    table = table.assign(scheduled=scheduled(table), late=late)
    columns = load_params(settle(YEAR) / "params.yaml").data.features
    table = table[[*columns, "flight", "late"]].sort_values("scheduled", kind="stable")
    return table.reset_index(drop=True).assign(id=lambda t: [f"f{i}" for i in range(len(t))])


@dataclass
class State:
    """How far a replay is: the next week, what its trainings and weeks were like."""

    week: int = 0
    trained: str = ""  # when the live model was
    retrains: list[str] = field(default_factory=list)
    seconds: float = 0.0
    weeks: list[dict[str, Any]] = field(default_factory=list)
    live: str = ""


class Replay:
    """One way to keep a model up to date, over the year."""

    def __init__(self, arm: str, rows: pd.DataFrame, root: Path = YEAR) -> None:
        self.arm, self.rows, self.folder = arm, rows, root / arm
        self.moments = rows["scheduled"].dt.tz_localize("UTC")
        path = self.folder / "state.json"
        self.state = State(**json.loads(path.read_text())) if path.exists() else State()
        self.params = load_params(settle(self.folder) / "params.yaml")
        self.data = self.params.data

    def known(self, now: pd.Timestamp) -> pd.DataFrame:
        """The rows whose truth has come."""
        there = (self.moments < (now if now == START else now - DELAY)) & self.rows["late"].notna()
        return self.rows[there].astype({"late": "int64"}).drop(columns="id")

    def learn(self, now: pd.Timestamp) -> Path:
        """Train on what is known, as the pipeline does, in a folder of its own."""
        place = self.folder / "candidate"
        shutil.rmtree(place, ignore_errors=True)
        (place / self.data.path).parent.mkdir(parents=True)
        self.known(now).to_parquet(place / self.data.path, index=False)
        with contextlib.chdir(settle(place)):
            split.main()
            start = time.process_time()
            train.main()
            self.state.seconds += time.process_time() - start
            evaluate.main()
        return place

    def predict(self, folder: Path, rows: pd.DataFrame) -> pd.DataFrame:
        """Return what the model in a folder says of raw rows."""
        with use_project_in(folder):
            return predict_frame(load_model(folder / paths.MODEL_FILE), select_features(self.params, rows))

    def judge(self, place: Path) -> str:
        """Return the gate's verdict on a candidate, on today's holdout."""
        rows = pd.read_parquet(place / paths.HOLDOUT_PARQUET)
        champion, candidate = (Predictions.from_frame(self.predict(folder, rows)) for folder in (self.folder, place))
        pairs = PairedPredictions.of(self.params, rows, champion, candidate)
        return decide_verdict(pairs.compare_metric(self.params.evaluate.metric), pairs.count_rows())

    def take(self, place: Path, now: pd.Timestamp) -> None:
        """Make a candidate the live model."""
        for name in ("models", "data", "reports"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            shutil.move(place / name, self.folder / name)
        self.state.trained = now.isoformat()
        self.state.live = sha256(self.folder / paths.MODEL_FILE)

    def serve(self, now: pd.Timestamp) -> int:
        """Answer and log a week of flights; the labels of the week before come in."""
        here = ((self.moments >= now) & (self.moments < now + WEEK)).to_numpy()
        rows = self.rows[here].reset_index(drop=True)
        said = self.predict(self.folder, rows)
        about = pd.DataFrame({"id": rows["id"], "time": self.moments[here].array})
        about["model"] = self.state.live
        logged = pd.concat([about, rows[self.data.features], said], axis=1)
        folder = self.folder / "logs"
        folder.mkdir(exist_ok=True)
        logged.to_parquet(folder / f"predictions-{self.state.week:02}.parquet", index=False)
        said.assign(truth=rows["late"], scheduled=rows["scheduled"]).to_parquet(
            self.folder / f"week-{self.state.week:02}.parquet"
        )
        return int(here.sum())

    def add_labels(self, now: pd.Timestamp) -> None:
        """Join the truth of the week that is one delay ago."""
        here = (self.moments >= now - DELAY - WEEK) & (self.moments < now - DELAY)
        rows = self.rows[here & self.rows["late"].notna()]
        told = pd.DataFrame({"id": rows["id"], "truth": rows["late"].astype(int), "time": now})
        with contextlib.chdir(self.folder):
            path = Path("labels.parquet")
            told.to_parquet(path, index=False)
            join_labels(path, Path("logs"))

    def watch(self, now: pd.Timestamp) -> dict[str, Any]:
        """Monitor, decide, and where there is a reason train and judge."""
        with contextlib.chdir(self.folder):
            start = time.process_time()
            found = monitor_model(self.params, now)
            spent = time.process_time() - start
        known = self.known(now)
        before = len(pd.read_parquet(self.folder / self.data.path, columns=["flight"]))
        past = [pd.Timestamp(moment) for moment in self.state.retrains]
        trained = pd.Timestamp(self.state.trained)
        facts = RetrainInputs(now, trained, past, len(known) - before, found["triggers"])
        decision = decide_retrain(self.params.retrain, facts)
        about = {"state": found["state"], "monitor": spent, "trigger": decision.trigger}
        about |= {"reason": decision.reason, "verdict": ""}
        if decision.should_train:
            place = self.learn(now)
            self.state.retrains.append(now.isoformat())
            about["verdict"] = self.judge(place)
            if about["verdict"] == "better":
                self.take(place, now)
        return about

    def step(self) -> None:
        """One week: on Monday maybe a new model, then a week of flights."""
        now = START + self.state.week * WEEK
        about: dict[str, Any] = {"monday": str(now.date())}
        if self.state.week == 0:
            self.take(self.learn(now), now)
            self.state.seconds = 0.0
        elif self.arm == "weekly":
            self.take(self.learn(now), now)
            self.state.retrains.append(now.isoformat())
        elif self.arm == "policy":
            if now - DELAY > START:
                self.add_labels(now)
            about |= self.watch(now)
        about["rows"] = self.serve(now)
        self.state.weeks.append(about)
        self.state.week += 1
        path = self.folder / "state.json"
        path.write_text(json.dumps(asdict(self.state), indent=1))
        print(self.arm, json.dumps(about), flush=True)

    def run(self, seconds: float, weeks: int = WEEKS) -> None:
        """As many weeks as fit."""
        start = time.monotonic()
        while self.state.week < weeks and time.monotonic() - start < seconds:
            self.step()


def answers(arm: str) -> pd.DataFrame:
    """What an arm said of every flight whose truth is known."""
    if not (YEAR / arm / f"week-{WEEKS - 1:02}.parquet").exists():
        raise SystemExit(f"error: {arm} is not at the year's end; python -m benchmarks.year {arm}")
    paths = sorted((YEAR / arm).glob("week-*.parquet"))
    found = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    return found[found["truth"].notna()].astype({"truth": "int64"}).reset_index(drop=True)


def months(said: dict[str, pd.DataFrame]) -> str:
    """AUC and log loss of each arm in each month, and in all."""
    rows, every = [], next(iter(said.values()))["scheduled"].dt.strftime("%B")
    for month in [*dict.fromkeys(every), "April to December"]:
        here = (every == month).to_numpy() | (month == "April to December")
        line: list[Any] = [month, f"{here.sum():,}"]
        for metric in ("roc_auc", "log_loss"):
            for frame in said.values():
                truth, scores = Predictions.from_frame(frame[here]).encode(frame["truth"][here])
                line.append(f"{compute_interval(metric, truth, scores).value:.4f}")
        rows.append(line)
    return table(["month", "rows", *(f"{m}, {arm}" for m in ("AUC", "log loss") for arm in said)], rows)


def costs() -> str:
    """What each arm did and what it cost."""
    rows = []
    for arm in ARMS:
        state = State(**json.loads((YEAR / arm / "state.json").read_text()))
        alerts = sum(week.get("state") in ("warning", "critical") for week in state.weeks)
        taken = sum(week.get("verdict") == "better" for week in state.weeks)
        done, watched = len(state.retrains), sum(week.get("monitor", 0.0) for week in state.weeks)
        promoted, alarms, watching = (taken, f"{alerts}", f"{watched:.0f}") if arm == "policy" else (done, "", "")
        rows.append([arm, done, promoted, alarms, f"{state.seconds:.0f}", watching])
    head = ["model", "retrains", "promoted", "weeks with an alert", "CPU s training"]
    return table([*head, "CPU s monitoring"], rows)


def verdicts(said: dict[str, pd.DataFrame]) -> str:
    """The gate on policy against weekly, and on weekly against never."""
    rows = []
    for champion, candidate in (("weekly", "policy"), ("never", "weekly"), ("never", "policy")):
        for metric in ("roc_auc", "log_loss"):
            frames = (said[champion], said[candidate])
            truth, (old, new) = encode_aligned(frames[0]["truth"], *map(Predictions.from_frame, frames))
            found = compute_difference(metric, truth, old, new)
            word = decide_verdict(found, compute_row_counts(metric, truth, new))
            span = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
            rows.append([f"{candidate} against {champion}", metric, span, f"{found.margin:.4f}", word])
    return table(["candidate", "metric", "difference, 95 %", "margin", "verdict"], rows)


def main() -> None:
    """Replay the arms that are named; without any, print the tables."""
    arms = [name for name in sys.argv[1:] if name in ARMS]
    if arms:
        rows = flights()
        for arm in arms:
            Replay(arm, rows).run(420)
        return
    said = {arm: answers(arm) for arm in ARMS}
    print(months(said), costs(), verdicts(said), sep="\n\n")


if __name__ == "__main__":
    main()
