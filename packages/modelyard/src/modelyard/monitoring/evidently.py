"""Verb: Evidently's own drift report on the rows that monitoring compares, from an environment of its own."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from modelyard.core.console import print_line
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write
from modelyard.core.params import load_params
from modelyard.core.process import last_error_line
from modelyard.monitoring.run import explain_empty_windows, parse_timestamp
from modelyard.monitoring.windows import collect_windows, load_reference

EVIDENTLY_REPORT = Path("reports/evidently.html")
# Its release imports what pandas 3.1 no longer has, so it cannot share the project's environment.
REQUIREMENTS = ("evidently==0.7.23", "pandas<3.1", "pyarrow")
REPORT_SCRIPT = """
import sys
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
then, now = map(pd.read_parquet, sys.argv[1:3])
Report([DataDriftPreset()]).run(now, then).save_html(sys.argv[3])
"""


def main(until: str | None = None, uv: str = "uv") -> int:
    """Write Evidently's report on the latest window before UNTIL (default: now) against the training rows.

    UV is the program that makes Evidently's environment.
    """
    params = load_params()
    if not (tool := shutil.which(uv)):
        raise UserError(f"{uv} is not here; `make evidently` brings it")
    ref = load_reference(params)
    windows, tally = collect_windows(params, ref, parse_timestamp(until))
    if not (full := [window for window in windows if len(window.raw)]):
        raise UserError(explain_empty_windows(params, ref.model, tally))
    with tempfile.TemporaryDirectory() as folder, atomic_write(EVIDENTLY_REPORT) as draft:
        sides = {"then.parquet": ref.raw, "now.parquet": full[-1].raw}
        for name, rows in sides.items():
            rows.to_parquet(Path(folder, name))
        needs = [f"--with={need}" for need in REQUIREMENTS]
        command = [tool, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable, *needs]
        files = [*(str(Path(folder, name)) for name in sides), str(draft)]
        done = subprocess.run(
            [*command, "python", "-c", REPORT_SCRIPT, *files], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(f"Evidently gave no report ({last_error_line(done.stderr)})")
    print_line(
        f"{'evidently':<10}the window from {full[-1].start:%Y-%m-%d}: {len(full[-1].raw):,} rows → {EVIDENTLY_REPORT}"
    )
    return 0
