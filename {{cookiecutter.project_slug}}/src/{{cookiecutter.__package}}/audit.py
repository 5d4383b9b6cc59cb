"""Verb: who made which model run where, when and on which evidence, by git and by MLflow; and where they disagree."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from . import registry
from .champion import at, blob
from .config import UserError, git
from .track import client, tracked


class Event(NamedTuple):
    """A commit that changed which model an environment runs."""

    when: str
    env: str
    action: str
    before: str
    after: str
    who: str
    commit: str
    evidence: str
    gap: str

    def __str__(self) -> str:
        moved = f"{self.env:<10}  {self.action:<10}  {self.before[:12]} → {self.after[:12]}"
        return f"{self.when}  {moved}  {self.who}, {self.commit[:12]}  {self.evidence}"


def champion(revision: str, env: str) -> dict[str, Any]:
    """The champion of an environment at a revision."""
    return (at(revision, f"{registry.FOLDER}/{env}.yaml") or {}).get("champion") or {}


def lines(revision: str, env: str) -> list[dict[str, Any]]:
    """The lines of the history about an environment at a revision."""
    text = (blob(revision, registry.HISTORY) or b"").decode()
    return [entry for entry in registry.parsed(text) if entry["environment"] == env]


def event(env: str, commit: str, when: str, who: str) -> Event | None:
    """What a commit changed in an environment, with the line of the history that came with it."""
    before, after = champion(f"{commit}^", env), champion(commit, env)
    if before == after:
        return None
    earlier, now = lines(f"{commit}^", env), lines(commit, env)
    last = now[-1] if now else {}
    model = after.get("model")
    gap = "" if last.get("to") == model else f"the history says {(last.get('to') or 'nothing')[:12]}"
    if now[: len(earlier)] != earlier and earlier[: len(now)] != now:
        gap = "earlier lines of the history were changed"
    action, evidence = "taken back", "by git alone"
    if last and last not in earlier:
        verdict = f"judged {last['verdict']} (verdict {last['verdict_sha256'][:12]}), " if "verdict" in last else ""
        action, evidence = last["action"], f"{verdict}asked by {last['who']} at {last['when']}"
    return Event(when, env, action, before.get("model") or "none", model or "none", who, commit, evidence, gap)


def events(since: str) -> Iterator[Event]:
    """Every change of a champion on this branch, oldest first; a merge counts as who merged it."""
    after = [f"--since={since}"] if since else []
    form = ["--first-parent", "-m", "--reverse", "--format=%H%x09%cI%x09%an <%ae>"]
    for row in git("log", *form, *after, "--", f"{registry.FOLDER}/*.yaml").splitlines():
        for env in registry.environments():
            if found := event(env, *row.split("\t")):
                yield found


def unlike() -> Iterator[str]:
    """Where MLflow's registry says other than git."""
    from mlflow.exceptions import MlflowException

    for env in registry.environments() if tracked() else ():
        truth, mirrored = registry.digests(env), registry.aliases(env)
        for alias in (alias for alias in registry.ALIASES if truth[alias] != mirrored[alias]):
            ours, theirs = ((side[alias] or "none")[:12] for side in (truth, mirrored))
            yield f"{env}: {alias} is {ours} by git, {theirs} by MLflow"
        try:
            marks = client().get_model_version_by_alias(str(__package__), registry.label(env, "champion")).tags
        except MlflowException:
            continue
        last = registry.history(env)[-1:]
        for key in ("when", "who", "verdict_sha256") if last and marks.get("promoted.environment") == env else ():
            if key in last[0] and marks.get(f"promoted.{key}") != last[0][key]:
                yield f"{env}: {key} is {last[0][key]} by git, {marks.get(f'promoted.{key}')} by MLflow"


def main(since: str = "") -> int:
    """Print who promoted what, when and on which evidence, since SINCE (a date); exit 1 where records disagree."""
    try:
        since = since and datetime.fromisoformat(since).isoformat()
    except ValueError:
        raise UserError(f"SINCE is {since!r}; write a date, such as 2026-01-31") from None
    found = list(events(since))
    for one in found:
        print(one)
    gaps = [f"{one.env} at {one.commit[:12]}: deploy/ names {one.after[:12]}, {one.gap}" for one in found if one.gap]
    for sentence in (gaps := [*gaps, *unlike()]):
        print(f"disagree  {sentence}")
    where = "git and MLflow" if tracked() else "git (nothing is tracked here by MLflow)"
    print(f"{'audit':<10}changes of a champion: {len(found)}; disagreements: {len(gaps)}; by {where}")
    return int(bool(gaps))
