"""Counts the models that were judged on one holdout, from git alone, and says what *better* needs after them."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from yaml import YAMLError

from modelyard.core.dvc_lock import IGNORED_PATHS, get_hashes, hash_folder
from modelyard.core.files import md5
from modelyard.core.git_objects import find_objects, read_folder_blobs, read_objects
from modelyard.core.paths import DATA_JSON, DVC_LOCK, MODEL_FILE, PARAMS_YAML, SCHEMA_YAML
from modelyard.core.process import run_git, try_command
from modelyard.core.yaml import parse_yaml
from modelyard.statistics.comparison import Difference

SOURCE_FOLDER = "src"
RECIPE_SECTIONS = ("data", "seed", "split", "train")  # of params.yaml: what makes another model
# Every branch is read, so none may stop the gate: by a flood of commits, a huge file, or aliases within aliases.
MAX_CANDIDATES = 1000
MAX_FILE_BYTES = 1_000_000
ALIAS = re.compile(rb"(?:^|[\s,:\[{-])\*\S")
PULL_REQUEST_HEADS = "+refs/pull/*/head:refs/remotes/pull/*/head"


@dataclass(frozen=True)
class HoldoutLooks:
    """How often a holdout was used.

    Parameters
    ----------
    count
        The models that were judged on it, this one included.
    limit
        The number after which a new holdout is asked for.
    since
        The commit of the base's history that the holdout began with; None where the base has no model.
    complete
        Whether the whole history is here; of a shallow clone a part is.
    """

    count: int
    limit: int
    since: str | None = None
    complete: bool = True


class CandidateFiles(NamedTuple):
    """The ids of the git objects at a commit that decide which model it has; None where the commit lacks one."""

    lock: str | None
    params: str | None
    schema: str | None
    source: str | None


class Recipe(NamedTuple):
    """What a model is made from: sections of params.yaml as text, and the ids of schema.yaml and of the sources."""

    params: str
    schema: str | None
    source: str | None


class Look(NamedTuple):
    """A model that was judged: its recipe, and the MD5 that its commit's dvc.lock names.

    The recipe is part of it because a dvc.lock is a claim: one that names the champion's model hides nothing.
    """

    recipe: Recipe
    model: str


def compute_ladder_step(error: float, count: int) -> float:
    """Return the gain that the best of so many useless candidates is expected to show: √(2 ln k) standard errors.

    Parameters
    ----------
    error
        The standard error of the paired difference, in the metric's unit.
    count
        The number of models that were judged on one holdout, k.

    References
    ----------
    Blum & Hardt (2015), The Ladder: a reliable leaderboard for machine learning competitions. *ICML*. Their
    parameter-free step is one standard error of the paired difference above the best score so far. The scores of
    branches that were not merged are known to nobody but the branch, so this takes the best score that chance would
    give: √(2 ln k) is the bound of the expected largest of k standard normal variables.
    """
    return math.sqrt(2 * math.log(max(count, 1))) * error


def require_ladder_step(word: str, primary: Difference, count: int) -> str:
    """Return the verdict after so many looks: *better* only where the whole interval lies above the Ladder step."""
    if word == "better" and primary.low <= compute_ladder_step(primary.error, count):
        return "not worse"
    return word


def build_look_notes(looks: HoldoutLooks, primary: Difference) -> list[str]:
    """Return the sentences of the report on how often this holdout was used."""
    notes = []
    if looks.count > 1:
        step = compute_ladder_step(primary.error, looks.count)
        notes.append(
            f"{looks.count:,} models were judged on this holdout. By chance alone the best of so many equal models "
            f"gains about {step:.4f} in {primary.metric}, so *better* takes an interval above that."
        )
    if looks.count >= looks.limit:
        notes.append(f"That is as many as `gate.looks` allows ({looks.limit:,}): `make holdout` begins a new one.")
    if not looks.complete:
        notes.append("This clone is shallow, so earlier looks at the holdout are not counted; fetch the whole history.")
    return notes


def count_looks(base: str, limit: int) -> HoldoutLooks:
    """Count the models that were judged on the base's holdout, the one in this folder included.

    Every commit of every branch and tag in this repository counts, merged or not, that was made since the holdout
    began. Two commits with one recipe and one model are one look. Where a commit's dvc.lock is older than its own
    sources, the run that judged it trained another model than the lock names, so its sources alone are the look.

    Parameters
    ----------
    base
        The commit that the change is compared with, whose history says when the holdout began.
    limit
        `gate.looks`.
    """
    fetch_pull_requests()
    complete = run_git("rev-parse", "--is-shallow-repository") != "true"
    history = list_holdout_commits(base)
    candidate = md5(MODEL_FILE)
    if not history:
        return HoldoutLooks(1, limit, None, complete)
    begin = history[-1]
    candidates = find_candidates(list_commits_since(begin, base))
    if len(candidates) > MAX_CANDIDATES:  # those that are not read count, too
        return HoldoutLooks(MAX_CANDIDATES, limit, begin, complete)
    looks, untrained = collect_looks(candidates)
    first, _ = collect_looks(find_candidates([begin]))
    here = Look(read_recipe(*find_candidates(["HEAD"])), candidate)
    # The run that judges the commit here trains its recipe: that is this look, and no further one.
    count = len((looks | {here}) - first) + len(untrained - {here.recipe})
    return HoldoutLooks(count, limit, begin, complete)


def fetch_pull_requests() -> None:
    """Fetch the heads of all pull requests in a workflow, where the repository can be read without a password."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        try_command("git", "fetch", "--quiet", "--no-tags", "origin", PULL_REQUEST_HEADS)


@dataclass(frozen=True)
class HoldoutState:
    """The holdout at a commit.

    Parameters
    ----------
    definition
        What decides which rows are held out.
    rows
        The rows of the table.
    older_rows
        How many of them are older than the holdout; None where their number does not say so.
    """

    definition: dict[str, Any]
    rows: int
    older_rows: float | None

    @classmethod
    def read(
        cls, lock: str | None, params: str | None, schema: str | None, data_profile: str | None
    ) -> "HoldoutState | None":
        """Return the holdout from the ids of dvc.lock, params.yaml, schema.yaml and reports/data.json.

        None where there is no model, or no params.yaml that can be read.
        """
        settings = parse_object(params)
        data = settings.get("data")
        if lock is None or not isinstance(data, dict):
            return None
        split = settings.get("split") or {}
        rows = int(parse_object(data_profile).get("rows", 0))
        definition = {name: data.get(name) for name in ("path", "target", "time", "group")}
        if not data.get("time"):
            key = parse_object(schema).get("unique")
            return cls({**definition, "key": key, "seed": split.get("seed", 0)}, rows, None)
        window = split.get("window")
        if window and not re.fullmatch(r"\d+[dh]", window):
            return cls({**definition, "since": window}, rows, None)
        older_rows = None if window else rows * (1 - split.get("holdout", 0.2))
        return cls(definition, rows, older_rows)  # a period, too, ends with the newest row, whatever its length

    def shares_rows_with(self, today: "HoldoutState | None") -> bool:
        """Whether this holdout has rows of today's, where rows are only ever added."""
        if today is None or self.definition != today.definition:
            return False
        return today.older_rows is None or self.rows > today.older_rows


def list_holdout_commits(base: str) -> list[str]:
    """Return the commits of the base's first-parent history that have the base's holdout, the newest first.

    It is another holdout before the base's `split.seed` or `split.window`, its data, target, key, group or time
    changed, and, where the newest share of the rows is held out, before the first row of today's holdout arrived.
    """
    commits = run_git("rev-list", "--first-parent", base).split()
    columns = [find_objects(commits, path) for path in (DVC_LOCK, PARAMS_YAML, SCHEMA_YAML, DATA_JSON)]
    states = [HoldoutState.read(*ids) for ids in zip(*columns, strict=True)]
    found = []
    for commit, state in zip(commits, states, strict=True):
        if state is None or not state.shares_rows_with(states[0]):
            break
        found.append(commit)
    return found


def list_commits_since(begin: str, base: str) -> list[str]:
    """Return the commits of all branches and tags that were made since a holdout began, without its first commit.

    A commit that does not descend from that one counts where it is younger: a branch may be older than the holdout
    that it is judged on.
    """
    tips = ("--exclude=refs/stash", "--all", "HEAD", base, f"^{begin}")
    began = int(run_git("show", "--no-patch", "--format=%ct", begin))
    descendants = set(run_git("rev-list", "--ancestry-path", *tips).split())
    lines = [line.split() for line in run_git("log", "--format=%H %ct", *tips).splitlines()]
    return [commit for commit, time in lines if commit in descendants or int(time) >= began]


def find_candidates(commits: Sequence[str]) -> dict[CandidateFiles, str]:
    """Return the distinct states of the files that decide which model a commit has, each with a commit that has it."""
    columns = [find_objects(commits, path) for path in (DVC_LOCK, PARAMS_YAML, SCHEMA_YAML, SOURCE_FOLDER)]
    return {CandidateFiles(*ids): commit for commit, *ids in zip(commits, *columns, strict=True)}


def read_recipe(files: CandidateFiles) -> Recipe:
    """Return the recipe of a commit, which no other section of params.yaml is part of."""
    params = {} if has_aliases(files.params) else parse_object(files.params)
    sections = {name: params[name] for name in RECIPE_SECTIONS if name in params}
    return Recipe(repr(sections) if sections else str(files.params), files.schema, files.source)


def has_aliases(name: str | None) -> bool:
    """Whether a YAML file may repeat parts of itself, which would take for ever to write out or to compare."""
    return bool(ALIAS.search(read_object(name)))


def collect_looks(candidates: Mapping[CandidateFiles, str]) -> tuple[set[Look], set[Recipe]]:
    """Return the models of some commits, and the recipes that no commit among them has a model of.

    Returns
    -------
    set of Look
        Each recipe with a model that a dvc.lock of its own sources names.
    set of Recipe
        Each recipe that the dvc.lock of none of its commits belongs to.
    """
    looks = set[Look]()
    untrained = set[Recipe]()
    for files, commit in candidates.items():
        recipe = read_recipe(files)
        model = find_trained_model(files, commit)
        if model:
            looks.add(Look(recipe, model))
        elif files.params:
            untrained.add(recipe)
    return looks, untrained - {look.recipe for look in looks}


def find_trained_model(files: CandidateFiles, commit: str) -> str | None:
    """Return the MD5 of the model that a commit's dvc.lock names; None where the lock is not of its own sources."""
    if has_aliases(files.lock) or has_aliases(files.params):
        return None
    params = parse_object(files.params)
    stages = parse_object(files.lock).get("stages") or {}
    try:
        train = stages["train"]
        recorded = {**stages["split"]["params"][str(PARAMS_YAML)], **train["params"][str(PARAMS_YAML)]}
        sources = get_hashes({"stages": {"train": train}}, "deps")
        models = get_hashes({"stages": {"train": train}})
    except (KeyError, TypeError, AttributeError):
        return None  # not the pipeline's own lock
    is_own = (
        all(recorded.get(name) == params.get(name) for name in RECIPE_SECTIONS)
        and sources.get(str(SCHEMA_YAML)) == md5(read_object(files.schema))
        and sources.get(SOURCE_FOLDER) == hash_source_folder(files.source, commit)
    )
    model = models.get(str(MODEL_FILE)) if is_own else None
    return model if isinstance(model, str) else None


_SOURCE_DIGESTS: dict[str | None, str] = {}


def hash_source_folder(tree: str | None, commit: str) -> str:
    """Return DVC's digest of the folder `src` at a commit; equal trees are hashed once."""
    if tree not in _SOURCE_DIGESTS:
        files = read_folder_blobs(commit, SOURCE_FOLDER) if tree else {}
        kept = {name: md5(content) for name, content in files.items() if not IGNORED_PATHS.search(name)}
        _SOURCE_DIGESTS[tree] = hash_folder(kept)
    return _SOURCE_DIGESTS[tree]


@cache
def read_object(name: str | None) -> bytes:
    """Return the contents of a git object; empty for None."""
    return read_objects([name])[0] if name else b""


@cache
def parse_object(name: str | None) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON object of git; empty where it holds something else."""
    content = read_object(name)
    if len(content) > MAX_FILE_BYTES:
        return {}
    try:
        found = parse_yaml(content)
    except (YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
