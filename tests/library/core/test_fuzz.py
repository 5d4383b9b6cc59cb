"""Any input is accepted, or refused with one sentence; FUZZ=1000 tries 1,000 of each kind instead of 20."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelyard.core import deployments
from modelyard.core.errors import UserError
from modelyard.core.params import load_params
from modelyard.core.paths import PARAMS_YAML, SCHEMA_YAML
from modelyard.core.yaml import dump_yaml, parse_yaml
from modelyard.data.schema import load_schema
from modelyard.github import sanitize
from modelyard.inference.request import RequestDecoder, RequestError
from modelyard.monitoring import log_reader
from modelyard.workspace import adopt

TRIES = int(os.environ.get("FUZZ", "20"))
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
fuzz = settings(max_examples=TRIES, deadline=None, database=None, derandomize=TRIES <= 20, suppress_health_check=QUIET)
few = settings(fuzz, max_examples=max(5, TRIES // 5))

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("1e9")
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6), v, max_size=3), max_leaves=8
)
CELLS = st.sampled_from(["", "1", "-2.5", "x", "NA", "1e999", '"', "é", "\x00", "2024-01-01", " ", "'", ";", "\t"])
TABLES = st.lists(st.lists(CELLS | st.text(max_size=5), min_size=1, max_size=5), min_size=1, max_size=30)


def make_usable_table(odd: list[tuple[int, int, str]]) -> list[list[str]]:
    """Return a table of a hundred complete rows, in which a few cells are replaced."""
    rows = [[str(row), str(row * 7 % 31 / 2), str(row % 2)] for row in range(100)]
    for row, column, cell in odd:
        rows[row][column] = cell
    return [["a", "b", "y"], *rows]


USABLE_TABLES = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 2), CELLS), max_size=3).map(make_usable_table)


@contextlib.contextmanager
def accepted_or_refused() -> Iterator[None]:
    """Accept a `UserError` with a sentence; any other exception fails the test."""
    try:
        yield
    except UserError as problem:
        assert str(problem).strip()


def list_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to every value of a document."""
    yield path
    if isinstance(node, dict):
        children = list(node.items())
    else:
        children = list(enumerate(node)) if isinstance(node, list) else []
    for key, child in children:
        yield from list_paths(child, (*path, key))


def replace_anywhere(document: Any, data: st.DataObject) -> Any:
    """Replace one value of a document by any other."""
    path = data.draw(st.sampled_from(list(list_paths(document))))
    value = data.draw(VALUES)
    if not path:
        return value
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return document


@fuzz
@given(data=st.data())
def test_params_are_read_or_refused(project: Path, data: st.DataObject) -> None:
    text = dump_yaml(replace_anywhere(parse_yaml(PARAMS_YAML.read_text()), data))
    (project / "other.yaml").write_text(text)
    with accepted_or_refused():
        load_params(project / "other.yaml")


@fuzz
@given(content=st.binary(max_size=200))
def test_bytes_are_no_params_and_no_schema(project: Path, content: bytes) -> None:
    path = project / "other.yaml"
    path.write_bytes(content)
    for read in (load_params, load_schema):
        with accepted_or_refused():
            read(path)  # type: ignore[operator]


@fuzz
@given(data=st.data())
def test_a_schema_is_read_or_refused(project: Path, data: st.DataObject) -> None:
    params, path = load_params(), project / "other.yaml"
    path.write_text(dump_yaml(replace_anywhere(parse_yaml(SCHEMA_YAML.read_text()), data)))
    with accepted_or_refused():
        load_schema(path)
        RequestDecoder(params.data, schema=path)


@few
@given(
    table=USABLE_TABLES | TABLES, mark=st.sampled_from([",", ";", "\t", "|"]), end=st.sampled_from(["\n", "\r\n", "\r"])
)
def test_a_table_is_adopted_or_refused(piped: Path, tmp_path: Path, table: Any, mark: str, end: str) -> None:
    folder = tmp_path / "adopting"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(piped, folder)
    (tmp_path / "table.csv").write_text(end.join(mark.join(row) for row in table), encoding="utf-8", errors="replace")
    before = [(folder / name).read_bytes() for name in (PARAMS_YAML, SCHEMA_YAML)]
    with contextlib.chdir(folder), contextlib.redirect_stdout(None):
        try:
            adopt.main(str(tmp_path / "table.csv"), table[0][-1].strip() or "x")
        except UserError:
            assert [name.read_bytes() for name in (PARAMS_YAML, SCHEMA_YAML)] == before


@fuzz
@given(lines=st.lists(st.binary(max_size=60) | VALUES.map(lambda v: json.dumps(v).encode()), max_size=20))
def test_a_log_is_read_or_counted(tmp_path: Path, lines: list[bytes]) -> None:
    good = json.dumps({"id": "a", "time": "2024-01-01T00:00:00Z", "prediction": 1}).encode()
    (tmp_path / "predictions-1.jsonl").write_bytes(b"\n".join([good, *lines]))
    (tmp_path / "predictions-2.parquet").write_bytes(b"".join(lines))
    tally = log_reader.ReadStats()
    rows = sum(len(frame) for frame in log_reader.read_records(tmp_path, "predictions", tally))
    assert rows <= 1 + len(lines) * 60 and tally.counts["files"] == 2


@fuzz
@given(line=st.text(max_size=60) | VALUES.map(json.dumps))
def test_a_history_is_read_or_refused(line: str) -> None:
    with accepted_or_refused():
        deployments.parse_history(line)


@fuzz
@given(value=VALUES, extra=st.text(max_size=40))
def test_a_verdict_is_read_or_unfit(tmp_path: Path, value: Any, extra: str) -> None:
    base = {"version": 1, "verdict": "better", "decision": "pass", "unattended": "open", "sentence": extra}
    for found in (value, base | {"sentence": value}, base | {"champion": value}, base):
        (tmp_path / "verdict.json").write_text(json.dumps(found))
        with contextlib.suppress(sanitize.InvalidArtifactError):
            said = sanitize.read_verdict(tmp_path / "verdict.json")
            assert "\n" not in said["sentence"] and len(said["sentence"]) <= 300


@fuzz
@given(data=st.data())
def test_a_request_is_typed_or_refused(rows: RequestDecoder, example: dict[str, Any], data: st.DataObject) -> None:
    body = data.draw(st.binary(max_size=100) | st.just(json.dumps(replace_anywhere(dict(example), data)).encode()))
    with contextlib.suppress(RequestError):
        rows.find_violations(rows.decode(body))


@pytest.fixture(scope="module")
def rows(piped: Path) -> RequestDecoder:
    with contextlib.chdir(piped):
        return RequestDecoder(load_params().data)


@pytest.fixture(scope="module")
def example(piped: Path) -> dict[str, Any]:
    """A row of the holdout as a client would send it."""
    import pandas as pd

    with contextlib.chdir(piped):
        features = load_params().data.features
        text = pd.read_parquet("data/holdout.parquet")[features].head(1).to_json(orient="records", date_format="iso")
    return dict(json.loads(text)[0])
