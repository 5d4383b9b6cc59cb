"""Lists who changed which champion, when and on which evidence, and where git and MLflow disagree."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelyard.core import deployments
from modelyard.core.console import print_line, print_result
from modelyard.core.errors import OptionError
from modelyard.core.git_objects import read_blob
from modelyard.core.process import run_git
from modelyard.tracking import registry
from modelyard.tracking.store import is_tracking_enabled

LOG_FORMAT = "--format=%H%x09%cI%x09%an <%ae>"
EVIDENCE_KEYS = ("when", "who", "verdict_sha256")
HistoryLine = dict[str, Any]


@dataclass(frozen=True)
class Commit:
    """A commit that changed a deploy file: its hash, time (ISO 8601), and author."""

    digest: str
    when: str
    who: str


@dataclass(frozen=True)
class ChampionChange:
    """A change of a champion: one line about it, and where the records disagree (else empty)."""

    text: str
    disagreement: str


def read_history_at(revision: str, env: str) -> list[HistoryLine]:
    """Return the lines of the deployment history about an environment at a revision."""
    content = read_blob(revision, deployments.HISTORY_FILE) or b""
    return [entry for entry in deployments.parse_history(content.decode()) if entry["environment"] == env]


def describe_evidence(line: HistoryLine) -> str:
    """Return what a line of the history says of the reason for a change."""
    verdict = ""
    if "verdict" in line:
        verdict = f"judged {line['verdict']} (verdict {line['verdict_sha256'][:12]}), "
    return f"{verdict}asked by {line['who']} at {line['when']}"


def find_history_gap(model: str | None, earlier: list[HistoryLine], now: list[HistoryLine]) -> str:
    """Return where the history does not fit a champion; empty where it does.

    Parameters
    ----------
    model
        The champion (SHA-256) in the deploy file.
    earlier, now
        The history before and after the change. A revert takes lines away; no change rewrites them.
    """
    kept = now[: len(earlier)] == earlier
    taken_back = earlier[: len(now)] == now
    if not kept and not taken_back:
        return "earlier lines of the history were changed"
    last = now[-1]["to"] if now else None
    return "" if last == model else f"the history says {(last or 'nothing')[:12]}"


def describe_champion_change(env: str, commit: Commit) -> ChampionChange | None:
    """Return what a commit changed in an environment, by the line of the history that came with it.

    None where the champion stayed.
    """
    parent = f"{commit.digest}^"
    before = deployments.read_champion_at(parent, env)
    after = deployments.read_champion_at(commit.digest, env)
    if before == after:
        return None
    earlier = read_history_at(parent, env)
    now = read_history_at(commit.digest, env)
    action = "taken back"
    evidence = "by git alone"
    if now and now[-1] not in earlier:
        action = now[-1]["action"]
        evidence = describe_evidence(now[-1])
    old = (before.get("model") or "none")[:12]
    new = (after.get("model") or "none")[:12]
    author = f"{commit.who}, {commit.digest[:12]}"
    text = f"{commit.when}  {env:<10}  {action:<10}  {old} → {new}  {author}  {evidence}"
    gap = find_history_gap(after.get("model"), earlier, now)
    return ChampionChange(text, gap and f"{env} at {commit.digest[:12]}: deploy/ names {new}, {gap}")


def iter_champion_changes(since: str) -> Iterator[ChampionChange]:
    """Yield every change of a champion on this branch, oldest first; a merge counts as its merger's.

    Parameters
    ----------
    since
        A date, or an empty text for all changes.
    """
    options = ["--first-parent", "-m", "--reverse", LOG_FORMAT]
    if since:
        options.append(f"--since={since}")
    for row in run_git("log", *options, "--", f"{deployments.DEPLOY_FOLDER}/*.yaml").splitlines():
        commit = Commit(*row.split("\t"))
        for env in deployments.list_environments():
            change = describe_champion_change(env, commit)
            if change:
                yield change


def find_mlflow_disagreements(env: str) -> Iterator[str]:
    """Yield where MLflow's registry disagrees with git about an environment."""
    expected = registry.get_expected_digests(env)
    mirrored = registry.get_mlflow_digests(env)
    for alias in registry.ALIASES:
        if expected[alias] != mirrored[alias]:
            ours = (expected[alias] or "none")[:12]
            theirs = (mirrored[alias] or "none")[:12]
            yield f"{env}: {alias} is {ours} by git, {theirs} by MLflow"
    tags = registry.get_alias_tags(env, "champion")
    history = deployments.load_history(env)
    if not history or tags.get("promoted.environment") != env:
        return
    for key in EVIDENCE_KEYS:
        recorded = tags.get(f"promoted.{key}")
        if key in history[-1] and recorded != history[-1][key]:
            yield f"{env}: {key} is {history[-1][key]} by git, {recorded} by MLflow"


def parse_since(since: str) -> str:
    """Return a date as ISO 8601; raise an `OptionError` where it is none."""
    try:
        return since and datetime.fromisoformat(since).isoformat()
    except ValueError:
        raise OptionError("SINCE", f"is {since!r}", "write a date, such as 2026-01-31") from None


def main(since: str = "") -> int:
    """Print who promoted what, when and on which evidence, since SINCE (a date); exit with 1 where records disagree."""
    changes = list(iter_champion_changes(parse_since(since)))
    for change in changes:
        print_line(change.text)
    disagreements = [change.disagreement for change in changes if change.disagreement]
    records = "git (nothing is tracked here by MLflow)"
    if is_tracking_enabled():
        records = "git and MLflow"
        for env in deployments.list_environments():
            disagreements += find_mlflow_disagreements(env)
    for disagreement in disagreements:
        print_line(f"disagree  {disagreement}")
    print_result("audit", f"changes of a champion: {len(changes)}; disagreements: {len(disagreements)}; by {records}")
    return int(bool(disagreements))
