"""Verb: who made which model run where, when and on which evidence, by git and by MLflow; and where they disagree."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from modelyard.core import deployments
from modelyard.core.console import print_line, print_result
from modelyard.core.errors import UserError
from modelyard.core.git_objects import read_blob, read_yaml_at
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.tracking import registry
from modelyard.tracking.store import get_mlflow_client, is_tracking_enabled


def read_champion_at(revision: str, env: str) -> dict[str, Any]:
    """The champion of an environment at a revision."""
    return (read_yaml_at(revision, f"{deployments.DEPLOY_FOLDER}/{env}.yaml") or {}).get("champion") or {}


def read_history_at(revision: str, env: str) -> list[dict[str, Any]]:
    """The lines of the history about an environment at a revision."""
    text = (read_blob(revision, deployments.HISTORY_FILE) or b"").decode()
    return [entry for entry in deployments.parse_history(text) if entry["environment"] == env]


def describe_champion_change(env: str, commit: str, when: str, who: str) -> tuple[str, str] | None:
    """What a commit changed in an environment, by the line of the history that came with it; where they disagree."""
    before, after = read_champion_at(f"{commit}^", env), read_champion_at(commit, env)
    if before == after:
        return None
    earlier, now = read_history_at(f"{commit}^", env), read_history_at(commit, env)
    last = now[-1] if now else {}
    old, model = (str(side.get("model") or "none")[:12] for side in (before, after))
    gap = "" if last.get("to") == after.get("model") else f"the history says {(last.get('to') or 'nothing')[:12]}"
    if now[: len(earlier)] != earlier and earlier[: len(now)] != now:
        gap = "earlier lines of the history were changed"
    action, evidence = "taken back", "by git alone"
    if last and last not in earlier:
        verdict = f"judged {last['verdict']} (verdict {last['verdict_sha256'][:12]}), " if "verdict" in last else ""
        action, evidence = last["action"], f"{verdict}asked by {last['who']} at {last['when']}"
    told = f"{when}  {env:<10}  {action:<10}  {old} → {model}  {who}, {commit[:12]}  {evidence}"
    return told, gap and f"{env} at {commit[:12]}: deploy/ names {model}, {gap}"


def iter_champion_changes(since: str) -> Iterator[tuple[str, str]]:
    """Every change of a champion on this branch, oldest first; a merge counts as who merged it."""
    after = [f"--since={since}"] if since else []
    form = ["--first-parent", "-m", "--reverse", "--format=%H%x09%cI%x09%an <%ae>"]
    for row in run_git("log", *form, *after, "--", f"{deployments.DEPLOY_FOLDER}/*.yaml").splitlines():
        for env in deployments.list_environments():
            if found := describe_champion_change(env, *row.split("\t")):
                yield found


def mlflow_disagreements() -> Iterator[str]:
    """Where MLflow's registry says other than git."""
    from mlflow.exceptions import MlflowException

    for env in deployments.list_environments() if is_tracking_enabled() else ():
        truth, mirrored = registry.get_expected_digests(env), registry.get_mlflow_digests(env)
        for alias in (alias for alias in registry.ALIASES if truth[alias] != mirrored[alias]):
            ours, theirs = ((side[alias] or "none")[:12] for side in (truth, mirrored))
            yield f"{env}: {alias} is {ours} by git, {theirs} by MLflow"
        try:
            marks = (
                get_mlflow_client()
                .get_model_version_by_alias(Project.load().name, registry.build_alias(env, "champion"))
                .tags
            )
        except MlflowException:
            continue
        last = deployments.load_history(env)[-1:]
        for key in ("when", "who", "verdict_sha256") if last and marks.get("promoted.environment") == env else ():
            if key in last[0] and marks.get(f"promoted.{key}") != last[0][key]:
                yield f"{env}: {key} is {last[0][key]} by git, {marks.get(f'promoted.{key}')} by MLflow"


def main(since: str = "") -> int:
    """Print who promoted what, when and on which evidence, since SINCE (a date); exit 1 where records disagree."""
    try:
        since = since and datetime.fromisoformat(since).isoformat()
    except ValueError:
        raise UserError(f"SINCE is {since!r}; write a date, such as 2026-01-31") from None
    found = list(iter_champion_changes(since))
    for told, _ in found:
        print_line(told)
    gaps = [*(gap for _, gap in found if gap), *mlflow_disagreements()]
    for gap in gaps:
        print_line(f"disagree  {gap}")
    where = "git and MLflow" if is_tracking_enabled() else "git (nothing is tracked here by MLflow)"
    print_result("audit", f"changes of a champion: {len(found)}; disagreements: {len(gaps)}; by {where}")
    return int(bool(gaps))
