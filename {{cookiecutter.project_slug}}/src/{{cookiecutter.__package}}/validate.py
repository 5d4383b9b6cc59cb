"""Stage: the table keeps what schema.yaml says, or the run stops and shows the rows that do not."""

import difflib
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .config import DATA, SCHEMA, UserError, atomic, load_params, sha256, stage, write_json
from .rows import personal

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

EXAMPLES = 5
WHOLE = 1 << 18  # rows of a table that is read as a whole; a larger one in blocks of a quarter of them
DISTINCT = 1 << 16  # that are counted; more are estimated


def load_schema(path: Path = SCHEMA) -> "DataFrameSchema":
    """The schema of a row, read by pandera; nonsense is a `UserError` that says where."""
    import pandera.pandas as pa

    try:
        schema = pa.DataFrameSchema.from_yaml(path)
        found = misspelt(path) if schema.columns else ""
    except FileNotFoundError:
        raise UserError(f"there is no {path}; `make schema` infers it from the data") from None
    except Exception as problem:  # pandera and PyYAML raise a dozen kinds
        detail = " ".join(str(problem).split())[:200]
        raise UserError(f"{path} cannot be read as a schema ({detail}); `make schema` infers it again") from None
    if not schema.columns:
        raise UserError(f"{path} names no columns; `make schema` infers it again")
    if found:
        raise UserError(f"{path} has {found}; correct it, since a rule that nobody knows holds for nothing")
    return schema


def misspelt(path: Path) -> str:
    """The first rule that pandera does not know and passes over in silence; notes of your own are no rules."""
    import pandera.pandas as pa

    known = {name for name in dir(pa.Check) if not name.startswith("_")} | {*inspect.signature(pa.Column).parameters}
    for column, rules in msgspec.yaml.decode(path.read_bytes())["columns"].items():
        for rule in (name for name in rules if name not in known):
            near = difflib.get_close_matches(rule, known, 1, 0.75)
            if near or isinstance(rules[rule], dict | list):
                hint = f"; did you mean {near[0]}?" if near else ""
                return f"a rule {rule} for {column} that does not exist{hint}"
    return ""


def key(path: Path = SCHEMA) -> list[str]:
    """The columns that name a row, where the schema says so; read without pandera, which takes its time."""
    found = msgspec.yaml.decode(path.read_bytes()) if path.exists() else {}
    return list(found.get("unique") or []) if isinstance(found, dict) else []


def size(path: Path) -> int:
    """The rows of a table; a missing or broken file is a `UserError`."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except FileNotFoundError:
        say = f"the data {path} is missing; `dvc pull` fetches it, `make adopt CSV=…` brings new data"
        raise UserError(say) from None
    except (OSError, ValueError) as problem:
        raise UserError(f"{path} is not a Parquet table ({problem}); `make adopt CSV=…` makes one") from None


def read_table(path: Path) -> pd.DataFrame:
    """The raw table; a missing or broken file is a `UserError`."""
    size(path)
    return pd.read_parquet(path)


def blocks(path: Path, columns: list[str] | None = None, whole: int = 0) -> Iterator[pd.DataFrame]:
    """The table as one block where it has no more rows than `whole`, else in blocks of a quarter of that."""
    whole = whole or WHOLE
    if size(path) <= whole:
        yield pd.read_parquet(path, columns=columns)
        return
    with pq.ParquetFile(path, pre_buffer=False) as file:
        types, start = gapless(file), 0
        for batch in file.iter_batches(whole // 4, columns=columns, use_threads=False):
            fields = [pa.field(field.name, types.get(field.name, field.type)) for field in batch.schema]
            frame = batch.cast(pa.schema(fields, batch.schema.metadata)).to_pandas()
            frame.index = pd.RangeIndex(start, start := start + len(frame))
            yield frame


@contextmanager
def writing(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    """What adds rows to a Parquet file, which takes its place when the block ends well."""
    with atomic(path) as draft, ExitStack() as stack:
        files = list[pq.ParquetWriter]()

        def add(rows: pd.DataFrame) -> None:
            table = pa.Table.from_pandas(rows, preserve_index=False)
            if not files:
                files.append(stack.enter_context(pq.ParquetWriter(draft, table.schema)))
            files[0].write_table(table)

        yield add


def gapless(file: pq.ParquetFile) -> dict[str, pa.DataType]:
    """Columns of whole numbers with gaps somewhere: pandas reads the table as a whole with floats there."""
    found = {}
    for number, field in enumerate(file.schema_arrow):
        groups = (file.metadata.row_group(i).column(number).statistics for i in range(file.num_row_groups))
        if pa.types.is_integer(field.type) and any(s is None or s.null_count for s in groups):
            found[field.name] = pa.float64()
    return found


def failures(table: pd.DataFrame, schema: "DataFrameSchema") -> pd.DataFrame:
    """The rules that the table breaks: one row for each rule, with its count and example rows."""
    from pandera.errors import SchemaErrors

    try:
        schema.validate(table, lazy=True)
    except SchemaErrors as problem:
        cases = problem.failure_cases.assign(check=lambda c: c["check"].astype(str))
        cases["column"] = cases["column"].fillna("(table)").astype(str)
        cases["failure_case"] = cases["failure_case"].mask(cases["column"].isin(personal()), "(personal)")
        grouped = cases.groupby(["column", "check"], sort=True)
        return grouped.agg(
            rows=("failure_case", "size"),
            values=("failure_case", lambda v: ", ".join(map(str, v.drop_duplicates()[:EXAMPLES]))),
            examples=("index", lambda v: ", ".join(map(str, v.dropna().drop_duplicates()[:EXAMPLES]))),
        ).reset_index()
    return pd.DataFrame(columns=["column", "check", "rows", "values", "examples"])


def twins(path: Path, names: list[str]) -> np.ndarray:
    """The hash of each row's values in some columns that a row before it has; hashes wait on disk, by their ends."""
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile()) for _ in range(64)]
        for part in blocks(path, names):
            marks = pd.util.hash_pandas_object(part, index=False).to_numpy()
            for end, file in enumerate(files):
                marks[marks % 64 == end].tofile(file)
        found = []
        for file in files:
            file.seek(0)
            marks = np.sort(np.fromfile(file, np.uint64))
            found.append(marks[1:][marks[1:] == marks[:-1]])
    return np.concatenate(found)


def repeats(path: Path, names: list[str]) -> pd.DataFrame:
    """The rule that no two rows are equal in some columns, where rows in different blocks break it."""
    twice = twins(path, names)
    if not twice.size:  # nothing to show: the table is not read once more
        return pd.DataFrame()
    some = [part[np.isin(pd.util.hash_pandas_object(part, index=False), twice)] for part in blocks(path, names)]
    rows = pd.concat(some)
    rows = rows[rows.duplicated(keep=False)]
    shown = rows[:1].assign(**dict.fromkeys(personal().intersection(names), "(personal)")).to_dict("list")
    examples = {"values": str(shown), "examples": ", ".join(map(str, rows.index[:EXAMPLES]))}
    told = {"column": "(table)", "check": "multiple_fields_uniqueness", "rows": len(rows), **examples}
    return pd.DataFrame([told][: len(rows)])


def examined(path: Path, schema: "DataFrameSchema") -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rules that a table of any size breaks, and its profile; more than one block is never in memory."""
    broken, profiles, sketches = [], [], dict[str, np.ndarray]()
    several = size(path) > WHOLE
    unique, schema.unique = schema.unique, None if several else schema.unique
    for part in blocks(path):
        broken.append(failures(part, schema))
        profiles.append(profile(part))
        for name in map(str, part if several else ()):
            marks = pd.util.hash_array(part[name].dropna().unique())
            sketches[name] = np.unique(np.concatenate([sketches.get(name, marks), marks]))[:DISTINCT]
    if several:
        broken += [repeats(path, unique)] if unique else []
        rules = pd.concat(broken).groupby(["column", "check"], as_index=False)
        return rules.agg({"rows": "sum", "values": "first", "examples": "first"}), merged(profiles, sketches)
    return broken[0], profiles[0]


def merged(profiles: list[dict[str, Any]], sketches: dict[str, np.ndarray]) -> dict[str, Any]:
    """The profile of a table from those of its blocks; distinct values from the smallest hashes of a column."""
    rows, columns = np.array([one["rows"] for one in profiles]), {}
    for name, marks in sketches.items():
        parts = [one["columns"][name] for one in profiles]
        many = len(marks) == DISTINCT
        full = rows * (1 - np.array([part["missing"] for part in parts]))
        columns[name] = parts[0] | {
            "missing": float(1 - full.sum() / rows.sum()),
            "distinct": int((DISTINCT - 1) / (int(marks[-1]) / 2**64)) if many else len(marks),
        }
        if numbers := [(part, weight) for part, weight in zip(parts, full, strict=True) if "mean" in part]:
            columns[name] |= {
                "min": min(part["min"] for part, _ in numbers),
                "max": max(part["max"] for part, _ in numbers),
                "mean": float(np.average([p["mean"] for p, _ in numbers], weights=[w for _, w in numbers])),
            }
    return {"rows": int(rows.sum()), "columns": columns}


def profile(table: pd.DataFrame) -> dict[str, Any]:
    """What reports compare: the rows, and of each column type, gaps and distinct values, of numbers range and mean."""
    found, hidden = dict[str, dict[str, Any]](), personal()
    for name, values in ((str(name), table[name]) for name in table):
        missing, distinct = float(values.isna().mean()), int(values.nunique())
        found[name] = {"type": str(values.dtype), "missing": missing, "distinct": distinct}
        if name not in hidden and pd.api.types.is_numeric_dtype(values) and values.notna().any():
            found[name] |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return {"rows": len(table), "columns": found}


def main() -> int:
    """Stop with the rules that the data breaks; else write reports/data.json."""
    params = load_params()
    path = Path(params.data.path)
    with stage("validate", size(path)) as notes:
        broken, found = examined(path, load_schema())
        if len(broken):
            print(broken.to_string(index=False))
            word = "rule" if len(broken) == 1 else "rules"
            raise UserError(
                f"{path} breaks {len(broken)} {word} of {SCHEMA}; "
                "correct the rows above, or the schema (`make schema` shows how it would differ)"
            )
        write_json(DATA, {"path": str(path), "sha256": sha256(path), **found})
        notes["columns"] = len(found["columns"])
    return 0
