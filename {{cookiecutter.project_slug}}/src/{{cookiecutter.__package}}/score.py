"""Verb: tables of any size get their predictions, batch by batch, in memory that does not grow with them."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import yaml

from .compile import current
from .config import MODEL, SCHEMA, UserError, atomic, load_params, stage
from .predictor import Answer, load_predictor, read_passport

SUFFIXES = (".parquet", ".csv")
Types = dict[str, str]
Predict = Callable[[pd.DataFrame], Answer]


def key_types() -> Types:
    """The columns by which the schema tells rows apart, with their dtypes: they go along with the predictions."""
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return {name: schema["columns"][name]["dtype"] for name in schema.get("unique") or []}


def arrow(dtype: str) -> pa.DataType:
    """The Arrow type that a CSV column of this pandas dtype is read as."""
    if dtype.startswith("datetime64"):
        return pa.timestamp("us", tz="UTC" if "," in dtype else None)
    plain = {"bool": "bool", "boolean": "bool", "object": "string", "category": "string"}
    return pa.type_for_alias("string" if dtype.startswith("str") else plain.get(dtype, dtype.lower()))


def wanted(path: Path, there: list[str], needed: Types, keys: Types) -> list[str]:
    """The columns to read; one that the model needs and the file lacks is a `UserError`."""
    missing = [name for name in needed if name not in there]
    if missing:
        raise UserError(f"{path} lacks {', '.join(missing)}, which the model needs; add it or choose another file")
    return [name for name in {**keys, **needed} if name in there]


def batches(path: Path, needed: Types, keys: Types, size: int) -> Iterator[pd.DataFrame]:
    """The keys and the model's columns, `size` rows of Parquet (or about as many of CSV) at a time."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path, pre_buffer=False) as file:
            names = wanted(path, file.schema_arrow.names, needed, keys)
            for batch in file.iter_batches(size, columns=names, use_threads=False):
                yield batch.to_pandas()
        return
    with pyarrow.csv.open_csv(path) as file:
        names = wanted(path, file.schema.names, needed, keys)
    types = {name: arrow(dtype) for name, dtype in {**keys, **needed}.items()}
    kinds = pyarrow.csv.ConvertOptions(column_types=types, include_columns=names, strings_can_be_null=True)
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=size * 100)
    with pyarrow.csv.open_csv(path, read_options=reading, convert_options=kinds) as file:
        for batch in file:
            yield batch.to_pandas()


def answered(rows: pd.DataFrame, needed: Types, keys: Types, classes: list[Any] | None, predict: Predict) -> pa.Table:
    """The keys of the rows and their predictions, in the rows' order."""
    predictions, chances = predict(rows[list(needed)].astype(needed))
    frame = rows[[name for name in keys if name in rows]].assign(prediction=predictions)
    if chances is not None:
        frame[[f"p_{name}" for name in classes or []]] = chances
    return pa.Table.from_pandas(frame, preserve_index=False)


def write(tables: Iterator[pa.Table], path: Path) -> int:
    """Write the tables as one file, whole or not at all; the number of rows."""
    first = next(tables, None)
    if first is None:
        raise UserError(f"there are no rows for {path}; score a file that has some")
    rows, csv = first.num_rows, path.suffix == ".csv"
    with atomic(path) as draft:
        kind = pyarrow.csv.CSVWriter if csv else pq.ParquetWriter
        with kind(draft, first.schema) as file:
            file.write_table(first)
            for table in tables:
                file.write_table(table)
                rows += table.num_rows
    return rows


def score(source: Path, target: Path, size: int) -> int:
    """Score one file; the number of its rows. What cannot be read is a `UserError`."""
    passport, keys = read_passport(), key_types()
    predict = load_predictor(passport)
    parts = batches(source, passport.dtypes, keys, size)
    tables = (answered(rows, passport.dtypes, keys, passport.classes, predict) for rows in parts if len(rows))
    try:
        return write(tables, target)
    except (pa.ArrowException, ValueError, OSError) as problem:
        raise UserError(f"{source} cannot be scored: {' '.join(str(problem).split())[:200]}") from None


def jobs(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """Which file becomes which: a file one file, a folder a folder; a `UserError` where there is nothing."""
    if source.is_file():
        if target.suffix not in SUFFIXES or source.suffix not in SUFFIXES:
            raise UserError(f"{source} → {target}: IN and OUT are .parquet or .csv files, or folders of them")
        return [(source, target)]
    found = sorted(path for path in source.glob("*") if path.suffix in SUFFIXES)
    if not found:
        raise UserError(f"{source} is no Parquet or CSV file and no folder of them; give IN=path OUT=path")
    return [(path, target / path.name) for path in found]


def done(source: Path, target: Path) -> bool:
    """Whether a file's predictions are there already, by this model: what was interrupted goes on from there."""
    newest = max(source.stat().st_mtime, MODEL.stat().st_mtime)
    return target.exists() and target.stat().st_mtime > newest


def progress(counts: Iterable[int], files: int) -> Iterator[int]:
    """The counts as they come, with a bar for whoever watches."""
    from tqdm import tqdm

    yield from tqdm(counts, total=files, unit="file", disable=None if files > 1 else True)


def main(in_: str, out: str) -> int:
    """Write the predictions for IN (a Parquet or CSV file, or a folder of them) to OUT; finished files stay."""
    from joblib import Parallel, delayed, parallel_config

    params = load_params()
    current(params)
    todo = jobs(Path(in_), Path(out))
    left = [job for job in todo if not done(*job)]
    with stage("score", 0) as notes, parallel_config(params.score.engine, n_jobs=params.score.workers):
        counts = Parallel(return_as="generator_unordered")(delayed(score)(*job, params.score.rows) for job in left)
        notes["rows out"] = sum(progress(counts, len(left)))
        notes["files"], notes["done before"] = len(left), len(todo) - len(left)
    return 0
