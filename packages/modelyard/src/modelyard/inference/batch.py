"""Score tables of any size, batch by batch, in memory that does not grow with the table."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from msgspec.structs import replace

from modelyard.core.console import report_stage
from modelyard.core.errors import InvalidFileError, OptionError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.params import Params, load_params
from modelyard.core.paths import MODEL_FILE, SCHEMA_YAML
from modelyard.core.predictions import Predictions, to_log_column
from modelyard.data.dialect import read_dialect
from modelyard.data.reading import FIRST_ROW, ColumnDtypes, is_table_name, read_rows
from modelyard.data.schema import read_key
from modelyard.data.schema_fields import SchemaField, read_column_specs, read_personal_columns
from modelyard.inference.bundle import ModelBundle
from modelyard.inference.predictor import load_predictor
from modelyard.inference.prepare import load_or_build_bundle
from modelyard.inference.request import read_fields

OUTPUT_SUFFIXES = (".parquet", ".csv")
ROW_GROUP_ROWS = 2**17  # rows that are written at a time: many small groups make a Parquet file twice as long


def read_key_dtypes() -> ColumnDtypes:
    """Return schema.yaml's key columns with their dtypes; they are written beside the predictions."""
    specs = read_column_specs(SCHEMA_YAML)
    return {name: specs[name]["dtype"] for name in read_key()}


def build_prediction_table(rows: pd.DataFrame, keys: ColumnDtypes, predictions: Predictions) -> pa.Table:
    """Return the key columns of the rows and their predictions, in the rows' order."""
    frame = predictions.to_frame(rows.index)
    names = [name for name in keys if name in rows]
    key_columns = rows[names].rename(columns={name: to_log_column(name) for name in names if name in frame})
    return pa.Table.from_pandas(key_columns.assign(**frame), preserve_index=False)


def stringify_column(column: pd.Series) -> pa.Array:
    """Return each value as text; a value that occurs often is converted once."""
    codes, distinct = column.factorize(use_na_sentinel=False)
    return pa.array(map(str, distinct), pa.string()).take(pa.array(codes))


def make_row_ids(rows: pd.DataFrame, names: list[str], stem: str) -> pa.Array:
    """Return an id for each row: its key columns joined with `|`, or without a key the file's name and row number."""
    if names:
        return pc.binary_join_element_wise(*(stringify_column(rows[name]) for name in names), "|")
    return pc.binary_join_element_wise(pa.scalar(stem), stringify_column(rows.index.to_series()), "-")


def write_prediction_log(
    rows: pd.DataFrame, table: pa.Table, keys: ColumnDtypes, personal: frozenset[str], model: str, path: Path
) -> None:
    """Log a batch as the service logs its predictions, without the personal columns.

    Parameters
    ----------
    rows
        The raw rows.
    table
        Their keys and predictions, as `build_prediction_table` returns them.
    keys
        The key columns; they are a row's id unless one of them is personal.
    personal
        The personal columns.
    model
        The SHA-256 of the model.
    path
        The Parquet file to write.
    """
    names = [] if personal & set(keys) else [name for name in keys if name in rows]
    logged = rows.drop(columns=personal & set(rows))
    ids = make_row_ids(logged, names, path.stem)
    logged = logged.rename(columns=to_log_column)
    logged = logged.assign(id=ids.to_pandas().array, model=model, time=pd.Timestamp.now("UTC"))
    predictions = table.drop_columns([name for name in keys if name in table.column_names])
    with atomic_write(path) as draft:
        logged.join(predictions.to_pandas()).to_parquet(draft, index=False)


def map_in_order(
    work: Callable[[int, pd.DataFrame], pa.Table], batches: Iterator[pd.DataFrame], threads: int
) -> Iterator[pa.Table]:
    """Yield the results of numbered batches in order, joined to tables of about `ROW_GROUP_ROWS` rows.

    At most `threads` + 1 batches are in memory beside the results.
    """
    pending = deque[Future[pa.Table]]()
    finished = list[pa.Table]()
    with ThreadPoolExecutor(threads) as pool:
        for number, batch in enumerate(batches):
            pending.append(pool.submit(work, number, batch))
            if len(pending) > threads:
                finished.append(pending.popleft().result())
            if sum(table.num_rows for table in finished) >= ROW_GROUP_ROWS:
                yield pa.concat_tables(finished)
                finished.clear()
        finished += [future.result() for future in pending]
    if finished:
        yield pa.concat_tables(finished)


def write_tables(tables: Iterator[pa.Table], target: Path) -> int:
    """Write tables to one file, whole or not at all, and return the number of rows; without a table write nothing."""
    first = next(tables, None)
    if first is None:
        return 0
    make_writer: Any = pyarrow.csv.CSVWriter if target.suffix == ".csv" else pq.ParquetWriter
    rows = first.num_rows
    with atomic_write(target) as draft, make_writer(draft, first.schema) as file:
        file.write_table(first)
        for table in tables:
            file.write_table(table)
            rows += table.num_rows
    return rows


def find_violations(rows: pd.DataFrame, fields: list[SchemaField]) -> dict[str, np.ndarray]:
    """Return for each rule of schema.yaml that rows break which rows do, as `column: rule` and a mask of shape (n,)."""
    found: dict[str, np.ndarray] = {}
    for field in fields:
        values = rows[field.name]
        is_missing = values.isna().to_numpy()
        failed = {} if field.nullable else {"nullable False": is_missing}
        for check, wanted in field.checks.items():
            failed[f"{check} {wanted}"] = ~is_missing & ~field.test_values(check, values)
        found |= {f"{field.name}: {rule}": mask for rule, mask in failed.items() if mask.any()}
    return found


def refuse_violations(source: Path, rows: pd.DataFrame, violations: dict[str, np.ndarray]) -> None:
    """Raise an `InvalidFileError` that names the first row that breaks schema.yaml, and the rule."""
    if not violations:
        return
    rule = min(violations, key=lambda found: int(violations[found].argmax()))
    row = rows.attrs[FIRST_ROW] + int(violations[rule].argmax())
    problem = f"has rows that schema.yaml does not allow, first row {row}: {rule}"
    raise InvalidFileError(source, problem, "correct them, or say OUTSIDE=flag to score and mark them")


def join_flags(violations: dict[str, np.ndarray], rows: int) -> list[str]:
    """Return for each row the columns that break schema.yaml, separated by commas."""
    flags = [""] * rows
    for rule, mask in violations.items():
        name = rule.partition(": ")[0]
        for place in mask.nonzero()[0]:
            flags[place] = ",".join(dict.fromkeys([*filter(None, flags[place].split(",")), name]))
    return flags


def score_file(source: Path, target: Path, params: Params, threads: int = 1, logs: str = "") -> int:
    """Score one file into another, whole or not at all.

    Parameters
    ----------
    source, target
        Parquet or CSV files.
    params
        The parameters: the rows in a batch, and what happens to rows outside schema.yaml.
    threads
        Batches that are scored at once.
    logs
        A folder for the prediction log; empty for none.

    Returns
    -------
    int
        The number of rows.

    Raises
    ------
    InvalidFileError
        The source is no table, has no rows, lacks a column, or breaks schema.yaml.
    """
    bundle = ModelBundle.read()
    keys = read_key_dtypes()
    score_batch = make_batch_scorer(bundle, keys, params, source, find_log_path(source, logs))
    try:
        found = read_rows(
            source, {**keys, **bundle.dtypes}, read_dialect(), params.score.rows, set(keys) - set(bundle.dtypes)
        )
        batches = (batch for batch in found if len(batch))
        rows = write_tables(map_in_order(score_batch, batches, threads), target)
    except (pa.ArrowException, ValueError, OSError) as problem:
        sentence = " ".join(str(problem).split())[:200]
        raise InvalidFileError(source, f"cannot be scored ({sentence})", "correct it or choose another file") from None
    if not rows:
        raise InvalidFileError(source, "has no rows", "score a file that has some")
    return rows


def find_log_path(source: Path, logs: str) -> Path | None:
    """Return the path of a file's log without number and suffix, or None for no log.

    The digest gives another month's file of the same name a log of its own, and the same file the same log.
    """
    return Path(logs, f"predictions-{source.stem}-{sha256(source)[:8]}") if logs else None


def make_batch_scorer(
    bundle: ModelBundle, keys: ColumnDtypes, params: Params, source: Path, log_path: Path | None
) -> Callable[[int, pd.DataFrame], pa.Table]:
    """Return the function that checks and predicts a numbered batch, and logs it where there is a log."""
    predict = load_predictor(bundle)
    personal = read_personal_columns(SCHEMA_YAML)
    is_flagging = params.serve.outside == "flag"
    fields = [field for field in read_fields(params.data, SCHEMA_YAML) if field.is_required]

    def score_batch(number: int, batch: pd.DataFrame) -> pa.Table:
        violations = find_violations(batch, fields)
        if not is_flagging:
            refuse_violations(source, batch, violations)
        predictions = predict(batch[list(bundle.dtypes)].astype(bundle.dtypes))
        table = build_prediction_table(batch, keys, predictions)
        if is_flagging:
            table = table.append_column("flags", pa.array(join_flags(violations, len(batch)), pa.string()))
        if log_path:
            path = log_path.with_name(f"{log_path.name}-{number}.parquet")
            write_prediction_log(batch, table, keys, personal, bundle.model, path)
        return table

    return score_batch


def list_file_pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Return each file to score with the file to write: one pair for a file, or one for each table in a folder.

    Raises
    ------
    OptionError
        There is nothing to score, or a file is of another kind.
    """
    if source.resolve() == target.resolve():
        raise OptionError("OUT", f"is {source}, which is also IN", "give another OUT")
    if source.is_file():
        if target.suffix not in OUTPUT_SUFFIXES:
            raise OptionError("OUT", f"is {target}", "give a .parquet or .csv file, or a folder for a folder")
        return [(source, target)]
    tables = sorted(path for path in source.glob("*") if is_table_name(path))
    if not tables:
        raise OptionError("IN", f"is {source}, no file and no folder of tables", "give IN=path OUT=path")
    return [(path, target / name_output(path)) for path in tables]


def name_output(source: Path) -> str:
    """Return the name of a file's predictions: its own, with `.csv` behind it where that is neither CSV nor Parquet."""
    return source.name if source.suffix in OUTPUT_SUFFIXES else f"{source.name}.csv"


def is_already_scored(source: Path, target: Path) -> bool:
    """Return whether a file's predictions exist and are newer than the file and the model."""
    newest = max(source.stat().st_mtime, MODEL_FILE.stat().st_mtime)
    return target.exists() and target.stat().st_mtime > newest


def main(in_: str, out: str, logs: str = "", outside: str = "") -> int:
    """Write the predictions for IN (Parquet or text, a file or a folder) to OUT, and to LOGS for `make monitor`.

    Text is read in the dialect of schema.yaml. A row that breaks schema.yaml is an error; OUTSIDE=flag scores it and
    names its columns in `flags` (the default is `serve.outside` in params.yaml). A run that was interrupted goes on
    with the files that are not scored yet.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    from modelyard.core.parallel import use_parallel_backend

    params = load_params()
    if outside not in ("", "flag", "refuse"):
        raise OptionError("OUTSIDE", f"is {outside!r}", "say OUTSIDE=flag or OUTSIDE=refuse")
    load_or_build_bundle(params)
    params = replace(params, serve=replace(params.serve, outside=outside or params.serve.outside))
    pairs = list_file_pairs(Path(in_), Path(out))
    open_pairs = [pair for pair in pairs if not is_already_scored(*pair)]
    with report_stage("score") as notes, use_parallel_backend(params.compute) as tasks:
        threads = max(1, (os.cpu_count() or 1) // tasks)
        work = (delayed(score_file)(*pair, params, threads, logs) for pair in open_pairs)
        counts = Parallel(return_as="generator_unordered")(work)
        progress = tqdm(counts, total=len(open_pairs), unit="file", disable=len(open_pairs) < 2 or None)
        notes["rows out"] = sum(progress)
        notes["files"] = len(open_pairs)
        notes["done before"] = len(pairs) - len(open_pairs)
    return 0
