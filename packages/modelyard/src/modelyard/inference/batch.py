"""Verb: tables of any size get their predictions, batch by batch, in memory that does not grow with them."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from modelyard.core.console import report_stage
from modelyard.core.errors import UserError
from modelyard.core.files import atomic_write, sha256
from modelyard.core.params import load_params
from modelyard.core.paths import MODEL_FILE, SCHEMA_YAML
from modelyard.core.predictions import to_log_column, to_probability_column
from modelyard.data.schema import read_key
from modelyard.data.schema_fields import read_column_specs, read_personal_columns
from modelyard.inference.bundle import ModelBundle, PredictionArrays
from modelyard.inference.predictor import load_predictor
from modelyard.inference.prepare import load_or_build_bundle

TABLE_SUFFIXES = (".parquet", ".csv")
CSV_ROW_BYTES = 100  # of a row of CSV, about
ROW_GROUP_ROWS = 2**17  # rows that are written at a time: many small groups would make a Parquet file twice as long
ColumnDtypes = dict[str, str]


def read_key_dtypes() -> ColumnDtypes:
    """The columns by which the schema tells rows apart, with their dtypes: they go along with the predictions."""
    specs = read_column_specs(SCHEMA_YAML)
    return {name: specs[name]["dtype"] for name in read_key()}


def to_arrow_type(dtype: str) -> pa.DataType:
    """The Arrow type that a CSV column of this pandas dtype is read as."""
    return pa.string() if dtype in ("object", "category") else pa.array(pd.Series(dtype=dtype)).type


def read_batches(path: Path, needed: ColumnDtypes, keys: ColumnDtypes, size: int) -> Iterator[pd.DataFrame]:
    """The keys and the model's columns, `size` rows of Parquet (or about as many of CSV) at a time."""
    csv = path.suffix == ".csv"
    with pyarrow.csv.open_csv(path) if csv else pq.ParquetFile(path, pre_buffer=False) as file:
        there = file.schema.names if csv else file.schema_arrow.names
        if missing := [name for name in needed if name not in there]:
            raise UserError(f"{path} lacks {', '.join(missing)}, which the model needs; add it or choose another file")
        names = [name for name in {**keys, **needed} if name in there]
        if not csv:
            for batch in file.iter_batches(size, columns=names, use_threads=False):
                yield batch.to_pandas()
            return
    types = {name: to_arrow_type(dtype) for name, dtype in {**keys, **needed}.items()}
    kinds = pyarrow.csv.ConvertOptions(column_types=types, include_columns=names, strings_can_be_null=True)
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=size * CSV_ROW_BYTES)
    with pyarrow.csv.open_csv(path, read_options=reading, convert_options=kinds) as file:
        for batch in file:
            yield batch.to_pandas()


def build_prediction_table(
    rows: pd.DataFrame, keys: ColumnDtypes, answer: PredictionArrays, classes: list[object] | None
) -> pa.Table:
    """The keys of the rows and their predictions, in the rows' order."""
    predictions, chances = answer
    frame = rows[[name for name in keys if name in rows]].assign(prediction=predictions)
    if chances is not None:
        frame[[to_probability_column(name) for name in classes or []]] = chances
    return pa.Table.from_pandas(frame, preserve_index=False)


def stringify_column(column: pd.Series) -> pa.Array:
    """Each value as Python writes it; a value that is there often is written once."""
    codes, distinct = column.factorize(use_na_sentinel=False)
    return pa.array(map(str, distinct), pa.string()).take(pa.array(codes))


def write_prediction_log(
    rows: pd.DataFrame, said: pa.Table, keys: ColumnDtypes, hidden: frozenset[str], model: str, path: Path
) -> None:
    """Log a batch as the service logs its answers; a row's id is its key, else the file and its place in it."""
    named = [] if hidden & set(keys) else [name for name in keys if name in rows]
    rows, said = rows.drop(columns=hidden & set(rows)), said.drop_columns([n for n in keys if n in said.column_names])
    parts = [stringify_column(rows[name]) for name in named] or [
        pa.scalar(path.stem),
        stringify_column(rows.index.to_series()),
    ]
    ids = pc.binary_join_element_wise(*parts, "|" if named else "-")
    about = rows.rename(columns=to_log_column).assign(id=ids.to_pandas().array, model=model)
    frame = about.assign(time=pd.Timestamp.now("UTC")).join(said.to_pandas())
    with atomic_write(path) as draft:
        frame.to_parquet(draft, index=False)


def map_in_order(
    work: Callable[[int, pd.DataFrame], pa.Table], parts: Iterator[pd.DataFrame], few: int
) -> Iterator[pa.Table]:
    """The results in the parts' order, while a few later parts are worked on, in tables of about `GROUP` rows."""
    waiting, held = deque[Future[pa.Table]](), list[pa.Table]()
    with ThreadPoolExecutor(few) as threads:
        for number, part in enumerate(parts):
            waiting.append(threads.submit(work, number, part))
            if len(waiting) > few:
                held.append(waiting.popleft().result())
            if sum(one.num_rows for one in held) >= ROW_GROUP_ROWS:
                yield pa.concat_tables(held)
                held.clear()
        held += [one.result() for one in waiting]
    if held:
        yield pa.concat_tables(held)


def score_file(source: Path, target: Path, size: int, threads: int = 1, logs: str = "") -> int:
    """Score one file into another, whole or not at all; the number of its rows, or a `UserError`."""
    passport, keys, rows = ModelBundle.read(), read_key_dtypes(), 0
    predict, needed, hidden = load_predictor(passport), passport.dtypes, read_personal_columns()
    # By its content: another month's file of the same name has a log of its own, the same one again has the same.
    name = f"predictions-{source.stem}-{sha256(source)[:8]}" if logs else ""

    def answer(number: int, part: pd.DataFrame) -> pa.Table:
        said = build_prediction_table(part, keys, predict(part[list(needed)].astype(needed)), passport.classes)
        if logs:
            write_prediction_log(part, said, keys, hidden, passport.model, Path(logs, f"{name}-{number}.parquet"))
        return said

    parts = (part for part in read_batches(source, needed, keys, size) if len(part))
    tables = map_in_order(answer, parts, threads)
    kind = pyarrow.csv.CSVWriter if target.suffix == ".csv" else pq.ParquetWriter
    try:
        first = next(tables, None)
        if first is None:
            raise UserError(f"there are no rows in {source}; score a file that has some")
        with atomic_write(target) as draft, kind(draft, first.schema) as file:
            while first is not None:
                file.write_table(first)
                rows, first = rows + first.num_rows, next(tables, None)
    except (pa.ArrowException, ValueError, OSError) as problem:
        raise UserError(f"{source} cannot be scored: {' '.join(str(problem).split())[:200]}") from None
    return rows


def list_file_pairs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Which file becomes which: a file one file, a folder a folder; a `UserError` where there is nothing."""
    if source.resolve() == target.resolve():
        raise UserError(f"IN and OUT are both {source}; give another OUT")
    if source.is_file():
        if target.suffix not in TABLE_SUFFIXES or source.suffix not in TABLE_SUFFIXES:
            raise UserError(f"{source} → {target}: IN and OUT are .parquet or .csv files, or folders of them")
        return [(source, target)]
    found = sorted(path for path in source.glob("*") if path.suffix in TABLE_SUFFIXES)
    if not found:
        raise UserError(f"{source} is no Parquet or CSV file and no folder of them; give IN=path OUT=path")
    return [(path, target / path.name) for path in found]


def is_already_scored(source: Path, target: Path) -> bool:
    """Whether a file's predictions are there already, by this model: what was interrupted goes on from there."""
    newest = max(source.stat().st_mtime, MODEL_FILE.stat().st_mtime)
    return target.exists() and target.stat().st_mtime > newest


def main(in_: str, out: str, logs: str = "") -> int:
    """Write the predictions for IN (Parquet or CSV, a file or a folder) to OUT, and to LOGS for `make monitor`."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    from modelyard.core.parallel import use_parallel_backend

    params = load_params()
    load_or_build_bundle(params)
    todo = list_file_pairs(Path(in_), Path(out))
    left = [job for job in todo if not is_already_scored(*job)]
    with report_stage("score") as notes, use_parallel_backend(params.compute) as most:
        threads = max(1, (os.cpu_count() or 1) // most)
        work = (delayed(score_file)(*job, params.score.rows, threads, logs) for job in left)
        counts = Parallel(return_as="generator_unordered")(work)
        notes["rows out"] = sum(tqdm(counts, total=len(left), unit="file", disable=len(left) < 2 or None))
        notes["files"], notes["done before"] = len(left), len(todo) - len(left)
    return 0
