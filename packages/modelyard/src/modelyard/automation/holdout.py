"""Begins a new holdout, and shows what the champion reaches on the old one and on the new one."""

from typing import Any

import pandas as pd

from modelyard.automation.retrain import run_pipeline
from modelyard.core.console import print_result
from modelyard.core.errors import OptionError, UserError
from modelyard.core.files import restore_files_on_error
from modelyard.core.params import Params, load_params
from modelyard.core.paths import DVC_LOCK, HOLDOUT_PARQUET, PARAMS_YAML
from modelyard.core.process import run_git
from modelyard.core.project import Project
from modelyard.core.yaml_edit import edit_yaml
from modelyard.data.parquet import read_blocks, read_table
from modelyard.data.schema import read_key
from modelyard.data.source import open_table
from modelyard.gate.scoring import JudgedRows, score_candidate, score_champion
from modelyard.gate.verdict import pair_clean_rows, require_model
from modelyard.statistics.comparison import compute_interval
from modelyard.statistics.paired_scores import MIN_UNITS


def choose_split_changes(params: Params, window: str | None) -> dict[str, Any]:
    """Return what changes in the block `split` of params.yaml, so that other rows are held out.

    Parameters
    ----------
    params
        The present parameters.
    window
        The wanted `split.window`; None takes the rows that are newer than the present holdout.

    Raises
    ------
    OptionError
        The rows are not split by time, so that there is no window.
    """
    if params.data.time:
        return {"window": window or find_fresh_start(params.data.time)}
    if window:
        raise OptionError(
            "WINDOW", f"{window} needs rows that are split by time", "leave it out: another seed is drawn"
        )
    return {"seed": params.split.seed + 1}


def find_fresh_start(time: str) -> str:
    """Return the time of the first row that is newer than the present holdout.

    Parameters
    ----------
    time
        The column of the rows' time.

    Raises
    ------
    UserError
        There are fewer than 50 such rows.
    """
    newest = pd.read_parquet(HOLDOUT_PARQUET, columns=[time])[time].max()
    blocks = read_blocks(open_table(Project.load()), [time])
    fresh = pd.concat([block.loc[block[time] > newest, time] for block in blocks])
    if len(fresh) < MIN_UNITS:
        raise UserError(
            f"only {len(fresh)} rows are newer than the present holdout, which ends at {newest}; "
            "bring newer rows, or say which rows are held out: WINDOW=2026-03-01"
        )
    return str(fresh.min().isoformat())


def measure_champion(params: Params) -> str:
    """Return the champion's primary metric on the holdout of these parameters, with its interval, as text."""
    path = open_table(Project.load())
    rows = JudgedRows.split(read_table(path), path, params, read_key())
    candidate = score_candidate(params, rows.holdout).predictions
    scored = score_champion(params, run_git("rev-parse", "HEAD"), rows, candidate)
    if scored.champion.source == "dummy":
        raise UserError("there is no champion yet; `make pipeline`, commit, then run this again")
    pairs = pair_clean_rows(params, rows.holdout, candidate, scored)
    found = compute_interval(params.evaluate.metric, pairs.truth, pairs.champion, **pairs.options)
    recipe = ", its recipe trained without them" if scored.champion.source == "retrained" else ""
    return f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}] on {len(pairs.truth):,} rows{recipe}"


def main(window: str | None = None) -> int:
    """Hold out other rows: another seed, or with data.time the newest rows; WINDOW=2026-03-01 says since when."""
    params = load_params()
    require_model()
    changes = choose_split_changes(params, window)
    before = measure_champion(params)
    with restore_files_on_error(PARAMS_YAML, DVC_LOCK):
        with edit_yaml(PARAMS_YAML) as document:
            document.setdefault("split", {}).update(changes)
        run_pipeline()
        after = measure_champion(load_params())
    (setting,) = (f"split.{name}: {value}" for name, value in changes.items())
    print_result("holdout", f"{setting}\n{'':<10}the champion's {params.evaluate.metric}: {before}")
    print_result("", f"on the new holdout: {after}\n{'':<10}the count of looks begins again once this is merged")
    return 0
