"""Write Evidently's own drift report on the rows that monitoring compares, from an environment of its own."""

import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd

from modelyard.core.console import print_result
from modelyard.core.errors import MissingToolError, ToolError
from modelyard.core.files import atomic_write
from modelyard.core.params import load_params
from modelyard.core.process import last_error_line, run_process
from modelyard.monitoring.run import parse_timestamp
from modelyard.monitoring.windows import collect_windows, load_reference

EVIDENTLY_REPORT = Path("reports/evidently.html")
# Evidently imports what pandas 3.1 no longer has, so it cannot share the project's environment.
PINS = Path(__file__).with_suffix(".txt")  # with hashes, made from evidently.in by the template's `make lock`
REPORT_SCRIPT = """
import sys
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
reference, current = map(pd.read_parquet, sys.argv[1:3])
Report([DataDriftPreset()]).run(current, reference).save_html(sys.argv[3])
"""


def make_environment(uv: str, folder: Path, pins: Path = PINS) -> Path:
    """Make Evidently's environment in a folder and return its Python.

    Parameters
    ----------
    uv
        The path of uv.
    folder
        A folder that does not exist yet.
    pins
        The pinned libraries with their hashes; `uv run --with` would not look at these.

    Raises
    ------
    ToolError
        A library could not be fetched, or has another hash than the pinned one.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    create: list[str | Path] = [uv, "venv", "--quiet", "--python", sys.executable, folder]
    sync: list[str | Path] = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, pins]
    for command in (create, sync):
        done = run_process(command)
        if done.returncode:
            raise ToolError("Evidently", f"its environment could not be made ({last_error_line(done.stderr)})")
    return python


def write_evidently_report(uv: str, reference: pd.DataFrame, current: pd.DataFrame) -> None:
    """Write reports/evidently.html.

    Parameters
    ----------
    uv
        The path of uv, which makes Evidently's environment.
    reference, current
        Raw rows: those that the model was trained on, and those of a window.

    Raises
    ------
    ToolError
        Evidently fails.
    """
    with tempfile.TemporaryDirectory() as folder, atomic_write(EVIDENTLY_REPORT) as draft:
        files = [Path(folder, "reference.parquet"), Path(folder, "current.parquet")]
        for path, rows in zip(files, (reference, current), strict=True):
            rows.to_parquet(path)
        python = make_environment(uv, Path(folder, "environment"))
        done = run_process([python, "-c", REPORT_SCRIPT, *files, draft])
        if done.returncode:
            raise ToolError("Evidently", f"no report was written ({last_error_line(done.stderr)})")


def main(until: str | None = None, uv: str = "uv") -> int:
    """Write Evidently's report on the latest window before UNTIL (default: now) against the training rows.

    UV is the program that makes Evidently's environment.
    """
    params = load_params()
    tool = shutil.which(uv)
    if not tool:
        raise MissingToolError(uv)
    reference = load_reference(params)
    windows, _ = collect_windows(params, reference, parse_timestamp(until))
    latest = [window for window in windows if len(window.raw)][-1]
    write_evidently_report(tool, reference.raw, latest.raw)
    rows = f"{len(latest.raw):,} rows"
    print_result("evidently", f"the window from {latest.start:%Y-%m-%d}: {rows} → {EVIDENTLY_REPORT}")
    return 0
