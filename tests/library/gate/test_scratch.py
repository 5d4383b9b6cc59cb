"""The scratch process: what it may reach, and what of its answer the judge believes."""

import errno
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from modelyard.core.errors import ToolError
from modelyard.core.params import load_params
from modelyard.core.paths import PARAMS_YAML
from modelyard.core.process import use_runner
from modelyard.core.yaml import dump_yaml, read_yaml
from modelyard.gate import confine, scratch
from modelyard.gate.scratch import ModelOutputError, predict_in_scratch, read_predictions
from modelyard.pipeline.predict import ROW_COLUMN
from tests.library.gate.support import commit_all

FEATURES = Path("src/flight_delays/features.py")
TWO_ROWS = {"p_0": [0.25, 0.5], "p_1": [0.75, 0.5], ROW_COLUMN: [0, 1]}
needs_landlock = pytest.mark.skipif(not confine.query_landlock(), reason="this kernel has no Landlock")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux filters system calls")


@pytest.fixture
def rows(project: Path) -> pd.DataFrame:
    """The holdout of the project in the current folder, which is a repository."""
    commit_all()
    return pd.read_parquet(project / "data/holdout.parquet")


def predict(rows: pd.DataFrame, is_timed: bool = False) -> scratch.ModelOutput:
    data = load_params().data
    return predict_in_scratch("candidate", Path(), rows, data.target, data.task, is_timed=is_timed)


def spy(code: str) -> None:
    """Let the project's features run a line of code when they are imported; what it returns is in the error."""
    line = f"import os; import pandas as pd; from pathlib import Path; raise SystemExit('spied: ' + str({code}))"
    FEATURES.write_text(f"{FEATURES.read_text()}\n{line}\n", encoding="utf-8")


def ask(rows: pd.DataFrame, code: str) -> str:
    """Return what a line of code sees in the scratch process."""
    spy(code)
    with pytest.raises(ToolError, match="spied: ") as found:
        predict(rows)
    return str(found.value).partition("spied: ")[2]


def test_the_predictions_are_the_pipelines(rows: pd.DataFrame) -> None:
    found = predict(rows, is_timed=True)
    before = pd.read_parquet("reports/predictions.parquet")
    assert np.asarray(found.predictions.probabilities)[:, 1].tolist() == before["p_1"].tolist()
    assert found.milliseconds is not None and found.milliseconds > 0


def test_the_target_is_not_among_the_rows(rows: pd.DataFrame) -> None:
    code = "pd.read_parquet('../rows.parquet').columns.tolist()"
    assert ask(rows, code) == str(load_params().data.features)


def test_a_model_that_wants_the_target_is_refused(rows: pd.DataFrame) -> None:
    params = read_yaml(PARAMS_YAML)
    params["data"]["features"].append(params["data"]["target"])
    PARAMS_YAML.write_text(dump_yaml(params), encoding="utf-8")
    with pytest.raises(ModelOutputError, match=f"wants to see {params['data']['target']}"):
        predict(rows)


def test_the_folder_holds_no_data_and_no_repository(rows: pd.DataFrame) -> None:
    assert ask(rows, "sorted(os.listdir('.'))") == str(
        ["models", "params.yaml", "pyproject.toml", "schema.yaml", "src"]
    )


def test_files_that_git_ignores_do_not_come_along(rows: pd.DataFrame) -> None:
    Path(".gitignore").write_text("*.parquet\n", encoding="utf-8")
    shutil.copy("data/holdout.parquet", FEATURES.with_name("truth.parquet"))
    assert "truth.parquet" not in ask(rows, "sorted(os.listdir('src/flight_delays'))")


def test_the_environment_holds_no_token_and_no_proxy(rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "MODELYARD_X", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in ask(rows, "dict(os.environ)")


def test_the_home_is_an_empty_folder(rows: pd.DataFrame) -> None:
    assert ask(rows, "os.listdir(os.path.expanduser('~'))") == "[]"


def test_modules_beside_the_model_stand_in_for_none(rows: pd.DataFrame) -> None:
    for name in ("joblib.py", "numexpr.py", "src/joblib.py", "src/numexpr.py"):
        Path(name).write_text("raise SystemExit('error: imported ' + __file__)\n", encoding="utf-8")
    assert len(predict(rows).predictions) == len(rows)


@needs_landlock
def test_the_project_cannot_be_read(rows: pd.DataFrame) -> None:
    with pytest.raises(ToolError, match="Permission denied"):
        spy(f"Path({str(Path.cwd() / 'data/holdout.parquet')!r}).read_bytes()")
        predict(rows)


@needs_landlock
def test_nothing_is_written_outside(rows: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="Permission denied"):
        spy(f"Path({str(tmp_path / 'verdict.json')!r}).write_text('pass')")
        predict(rows)
    assert not (tmp_path / "verdict.json").exists()


@needs_landlock
def test_the_network_cannot_be_reached(rows: pd.DataFrame) -> None:
    code = "__import__('socket').create_connection(('127.0.0.1', 9), 1)"
    with pytest.raises(ToolError, match=r"Permission denied|unreachable"):
        spy(code)
        predict(rows)


@needs_linux
def test_a_local_socket_cannot_be_reached(rows: pd.DataFrame, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "engine.sock"))
        engine.listen()
        with pytest.raises(ToolError, match="Permission denied"):
            spy(f"__import__('socket').socket(1).connect({str(tmp_path / 'engine.sock')!r})")
            predict(rows)


@needs_linux
def test_a_pair_of_sockets_writes_to_no_other(rows: pd.DataFrame, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(str(tmp_path / "log"))
        with pytest.raises(ToolError, match="Permission denied"):
            spy(f"__import__('socket').socketpair(1, 2)[0].sendto(b'x', {str(tmp_path / 'log')!r})")
            predict(rows)


@needs_linux
@pytest.mark.parametrize("call", ["ptrace", "process_vm_readv", "io_uring_setup"])
def test_a_call_into_another_process_or_around_the_filter_is_refused(rows: pd.DataFrame, call: str) -> None:
    number = CALLS[call][platform.machine()]
    code = f"[c := __import__('ctypes').CDLL(None, use_errno=True), c.syscall({number}, 0, 0, 0, 0, 0, 0)]"
    assert ask(rows, f"{code} and __import__('ctypes').get_errno()") == str(errno.EACCES)


# Of <asm/unistd.h> on both processors.
CALLS = {
    "socket": {"x86_64": 41, "aarch64": 198},
    "connect": {"x86_64": 42, "aarch64": 203},
    "ptrace": {"x86_64": 101, "aarch64": 117},
    "process_vm_readv": {"x86_64": 310, "aarch64": 270},
    "process_vm_writev": {"x86_64": 311, "aarch64": 271},
    "bpf": {"x86_64": 321, "aarch64": 280},
    "io_uring_setup": {"x86_64": 425, "aarch64": 425},
    "pidfd_getfd": {"x86_64": 438, "aarch64": 438},
}
SOCKETPAIR = {"x86_64": 53, "aarch64": 199}
READ = {"x86_64": 0, "aarch64": 63}
PROCESSORS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "i386": 0x40000003, "arm": 0x40000028}


def run_filter(machine: str, call: int, *arguments: int, processor: str = "") -> str:
    """Return what the filter of a machine answers to a system call: the kernel's interpreter, as far as it is used."""
    data = struct.pack("=iIQ6Q", call, PROCESSORS[processor or machine], 0, *[*arguments, 0, 0, 0, 0, 0, 0][:6])
    rows = confine.build_call_filter(machine)
    place, held = 0, 0
    while rows[place][0] != confine.RETURN:
        code, yes, no, value = rows[place]
        if code == confine.LOAD:
            held = struct.unpack_from("=I", data, value)[0]
        elif code == confine.AND:
            held &= value
        else:
            place += yes if (held == value if code == confine.IS_EQUAL else held >= value) else no
        place += 1
    return next(name for name, answer in confine.ANSWERS.items() if answer == rows[place][3])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_refuses_what_it_must_and_nothing_else(machine: str) -> None:
    assert {run_filter(machine, numbers[machine]) for numbers in CALLS.values()} == {"refuse"}
    refused = {number for number in range(500) if run_filter(machine, number) == "refuse"}
    assert refused == {numbers[machine] for numbers in CALLS.values()} | {SOCKETPAIR[machine]}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_allows_pairs_of_local_streams_alone(machine: str) -> None:
    nonblocking = 0o2000000 | 0o4000
    answers = {
        (family, kind): run_filter(machine, SOCKETPAIR[machine], family, kind | nonblocking)
        for family in (1, 2, 10, 16, 30)
        for kind in (1, 2, 3, 5)
    }
    assert [pair for pair, answer in answers.items() if answer == "allow"] == [(1, 1)]


@pytest.mark.parametrize(
    ("machine", "processor", "call"),
    [("x86_64", "i386", 3), ("aarch64", "arm", 3), ("x86_64", "", 0x40000000 + 41), ("x86_64", "", -1)],
    ids=["32 bits", "32 bits of arm", "x32", "negative"],
)
def test_the_filter_ends_a_process_that_calls_by_another_interface(machine: str, processor: str, call: int) -> None:
    assert run_filter(machine, READ[machine]) == "allow"
    assert run_filter(machine, call, processor=processor) == "kill"


def test_worker_processes_and_event_loops_still_work(rows: pd.DataFrame) -> None:
    FEATURES.write_text(f"{FEATURES.read_text()}\n{WORKERS}\n", encoding="utf-8")
    with pytest.raises(ToolError, match=r"worked: \[0, 1, 4\] 7"):
        predict(rows)


WORKERS = """
import asyncio, joblib
squares = joblib.Parallel(2)(joblib.delayed(pow)(number, 2) for number in range(3))
raise SystemExit(f"worked: {squares} {asyncio.run(asyncio.sleep(0, 7))}")
"""


@needs_landlock
def test_the_level_of_confinement_is_told(rows: pd.DataFrame) -> None:
    assert predict(rows).confinement == "landlock and seccomp"


def test_code_cannot_tell_another_level(rows: pd.DataFrame) -> None:
    with pytest.raises(ToolError, match="Permission denied"):
        spy("[path.write_text('x') for path in Path('../..').resolve().glob('confinement')] or Path('../../x').touch()")
        predict(rows)


# A kernel without one of the two: the calls by which a process takes it on are refused.
LACKING = """
import ctypes, sys
from modelyard.gate import confine
processor, _, pair = confine.SYSTEM_CALLS[confine.os.uname().machine]
system = ctypes.CDLL(None)
system.prctl(confine.NO_NEW_PRIVILEGES, 1, 0, 0, 0)
confine.SYSTEM_CALLS = {confine.os.uname().machine: (processor, (int(sys.argv[1]),), pair)}
assert confine.restrict_calls()
from pathlib import Path
import pandas as pd
from modelyard.core.params import load_params
from modelyard.gate.scratch import predict_in_scratch
data = load_params().data
rows = pd.read_parquet("data/holdout.parquet")
print(predict_in_scratch("candidate", Path(), rows, data.target, data.task).confinement)
"""
PRCTL = {"x86_64": 157, "aarch64": 167}
LACKED = {"seccomp": confine.CREATE_RULESET, "landlock": PRCTL.get(platform.machine(), 0)}


def predict_without(call: int, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LACKING, str(call)]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False)


@needs_landlock
@pytest.mark.parametrize(("level", "call"), LACKED.items())
def test_a_workflow_starts_no_code_that_it_cannot_confine(rows: pd.DataFrame, level: str, call: int) -> None:
    started = Path("/dev/shm/modelyard-started")
    started.unlink(missing_ok=True)
    spy(f"Path({str(started)!r}).touch()")
    done = predict_without(call, GITHUB_ACTIONS="true")
    sentence = done.stderr.splitlines()[-1]
    assert f"this runner has {level}; use one with Linux 5.13" in sentence, done.stderr
    assert not started.exists()


@needs_landlock
def test_elsewhere_a_machine_that_cannot_confine_goes_on_and_tells(rows: pd.DataFrame) -> None:
    done = predict_without(LACKED["seccomp"], GITHUB_ACTIONS="")
    assert done.stdout.strip() == "seccomp", done.stderr


def test_a_model_that_fails_is_one_line(rows: pd.DataFrame) -> None:
    FEATURES.write_text("def features(raw):\n    raise ValueError('too many birds')\n", encoding="utf-8")
    with pytest.raises(ToolError, match=r"the candidate's model: .*too many birds"):
        predict(rows)


def write_table(folder: Path, columns: dict[str, list[float]]) -> Path:
    pd.DataFrame(columns).to_parquet(folder / "out.parquet", index=False)
    return folder / "out.parquet"


def test_a_whole_table_is_read(tmp_path: Path) -> None:
    found = read_predictions(write_table(tmp_path, TWO_ROWS), "candidate", "classification", 2)
    assert found.classes == ("0", "1")
    assert np.asarray(found.probabilities).tolist() == [[0.25, 0.75], [0.5, 0.5]]


def test_a_table_of_an_older_library_has_no_places(tmp_path: Path) -> None:
    found = read_predictions(write_table(tmp_path, {"prediction": [1.5, 2.5]}), "champion", "regression", 2)
    assert found.values.tolist() == [1.5, 2.5]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({name: values[:1] for name, values in TWO_ROWS.items()}, "returned 1 predictions for 2 rows"),
        (TWO_ROWS | {ROW_COLUMN: [1, 0]}, "in another order"),
        (TWO_ROWS | {"p_0": [np.nan, 0.5]}, "missing or infinite value for row 0"),
        (TWO_ROWS | {"p_0": [0.25, np.inf]}, "missing or infinite value for row 1"),
        (TWO_ROWS | {"p_0": [5.0, 0.5], "p_1": [-4.0, 0.5]}, "below 0 or do not sum to 1"),
        (TWO_ROWS | {"p_0": [0.9, 0.5]}, "below 0 or do not sum to 1"),
        (TWO_ROWS | {"p_0": ["a", "b"]}, "returned no numbers"),
        ({"prediction": [1, 0]}, "returned no numbers"),
    ],
    ids=["short", "order", "missing", "infinite", "negative", "sum", "text", "no classes"],
)
def test_a_table_that_is_not_one_prediction_a_row_is_refused(
    tmp_path: Path, columns: dict[str, list[float]], sentence: str
) -> None:
    with pytest.raises(ModelOutputError, match=sentence):
        read_predictions(write_table(tmp_path, columns), "candidate", "classification", 2)


@pytest.mark.parametrize("content", [None, b"PAR1"], ids=["nothing", "no table"])
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "out.parquet").write_bytes(content)
    with pytest.raises(ModelOutputError, match="no table of predictions"):
        read_predictions(tmp_path / "out.parquet", "candidate", "regression", 2)


def test_a_time_that_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "times.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelOutputError, match="no time of a row"):
        scratch.read_milliseconds(tmp_path / "times.json", "candidate")


def test_a_model_that_is_timed_gets_the_same_command(rows: pd.DataFrame) -> None:
    """Only the candidate is timed: code that could tell would answer worse as the champion."""
    commands = []

    def record(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        commands.append([word for word in command if "scratch-" not in str(word)])
        return subprocess.run(command, **options)

    with use_runner(record):
        predict(rows, is_timed=True)
        timed = commands.copy()
        commands.clear()
        predict(rows)
    assert commands == timed
