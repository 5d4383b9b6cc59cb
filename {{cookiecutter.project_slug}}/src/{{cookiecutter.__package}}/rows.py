"""Rows of a request: checked by schema.yaml while they are decoded, so that serving needs no pandera."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
import yaml

from .config import SCHEMA, Data, UserError
from .light import Column, Table

if TYPE_CHECKING:
    import pandas as pd

Row = msgspec.Struct
Test = Callable[[Any], bool]

KINDS: dict[str, Any] = {
    r"u?int\d*": int,
    r"float\d*": float,
    r"bool(ean)?": bool,
    r"datetime64\[[a-z]+\]": Annotated[datetime, msgspec.Meta(tz=False)],
    r"datetime64\[[a-z]+, *\S+\]": Annotated[datetime, msgspec.Meta(tz=True)],
    r"str|string(\[\w+\])?|object|category": str,
}
BOUNDS = {"greater_than": "gt", "greater_than_or_equal_to": "ge", "less_than": "lt", "less_than_or_equal_to": "le"}
WORDS = ("id", "time", "model", "prediction", "flags", "truth")  # of the log's own
PROPERTIES = {
    *("checks", "coerce", "default", "description", "drop_invalid_rows", "dtype", "name", "nullable", "regex"),
    *("report_duplicates", "required", "title", "unique"),
}
TESTS: dict[str, Callable[[Any], Test]] = {
    "equal_to": lambda wanted: lambda value: bool(value == wanted),
    "not_equal_to": lambda wanted: lambda value: bool(value != wanted),
    "greater_than": lambda low: lambda value: bool(value > low),
    "greater_than_or_equal_to": lambda low: lambda value: bool(value >= low),
    "less_than": lambda high: lambda value: bool(value < high),
    "less_than_or_equal_to": lambda high: lambda value: bool(value <= high),
    "isin": lambda allowed: lambda value: value in allowed,
    "notin": lambda refused: lambda value: value not in refused,
    "str_matches": lambda pattern: lambda value: re.match(pattern, value) is not None,
    "str_contains": lambda pattern: lambda value: re.search(pattern, value) is not None,
    "str_startswith": lambda start: lambda value: value.startswith(start),
    "str_endswith": lambda end: lambda value: value.endswith(end),
}


class Refused(Exception):
    """A body that holds no rows of the schema: the status, a sentence, and which row and field."""

    def __init__(self, sentence: str, status: int = 422) -> None:
        place = re.search(r"\$(?:\[(\d+)\])?(?:\.(.*))?`$", sentence)
        named = re.search(r"field `(.*?)`", sentence)
        super().__init__(sentence.replace(" - at `$`", ""))
        self.status = status
        self.row = int(place[1]) if place and place[1] else None
        self.field = named[1] if named else place[2] if place else None


class Field(msgspec.Struct, frozen=True):
    """A column: the type that its dtype gives, the type with the checks, and the checks no type can say."""

    name: str
    dtype: str
    nullable: bool
    needed: bool
    bare: Any
    checked: Any
    tests: list[Test]

    def keeps(self, value: Any) -> bool:
        """Whether a value of the bare type passes every check."""
        if value is None or value is msgspec.UNSET:
            return True
        try:
            msgspec.convert(value, self.checked)
        except msgspec.ValidationError:
            return False
        return all(test(value) for test in self.tests)


def kind(name: str, dtype: str) -> Any:
    """The type that a JSON value of this dtype has; an unknown dtype is a `UserError`."""
    for pattern, found in KINDS.items():
        if re.fullmatch(pattern, dtype, re.IGNORECASE):
            return found
    raise UserError(f"{SCHEMA}: JSON has no value for column {name} of dtype {dtype}; give it another type")


def checks(spec: dict[str, Any]) -> dict[str, Any]:
    """The checks of a column by name, in whichever form pandera wrote them."""
    found = {key: value for key, value in spec.items() if key not in PROPERTIES}
    listed = spec.get("checks") or {}
    if isinstance(listed, list):
        listed = {item["options"]["check_name"]: item for item in listed}
    for name, value in listed.items():
        stats = {k: v for k, v in value.items() if k != "options"} if isinstance(value, dict) else value
        found[name] = stats["value"] if isinstance(stats, dict) and list(stats) == ["value"] else stats
    return {key: single for name, value in found.items() for key, single in plain(name, value)}


def plain(name: str, value: Any) -> list[tuple[str, Any]]:
    """A check of a range as its two bounds, any other as it is."""
    if name == "in_range":
        low = "greater_than_or_equal_to" if value.get("include_min", True) else "greater_than"
        high = "less_than_or_equal_to" if value.get("include_max", True) else "less_than"
        return [(low, value["min_value"]), (high, value["max_value"])]
    if name == "str_length":
        value = value if isinstance(value, dict) else {"min_value": value, "max_value": value}
        return [(f"str_length_{end}", value[end]) for end in ("min_value", "max_value") if value.get(end) is not None]
    return [(name, value)]


def limits(check: str, value: Any, bare: Any) -> dict[str, Any]:
    """A check as what msgspec tests while it decodes; empty where it cannot."""
    if check in BOUNDS and isinstance(value, int | float) and (bare is float or float(value).is_integer()):
        return {BOUNDS[check]: value}
    if check == "str_matches":
        return {"pattern": f"^(?:{value})"}
    lengths = {"str_length_min_value": "min_length", "str_length_max_value": "max_length"}
    return {lengths[check]: value} if check in lengths else {}


def typed(bare: Any, meta: dict[str, Any]) -> Any:
    """A type with constraints; whole numbers may come as 3 or as 3.0, as long as they fit."""
    if bare is not int:
        return Annotated[bare, msgspec.Meta(**meta)] if meta else bare
    given = {name[0] for name in meta}
    small, large = (
        {name: most for name, most in (("ge", -(2**bits)), ("le", 2**bits - 1)) if name[0] not in given} | meta
        for bits in (53, 63)
    )
    return Annotated[int, msgspec.Meta(**large)] | Annotated[float, msgspec.Meta(**small, multiple_of=1)]


def column(name: str, spec: dict[str, Any], needed: bool) -> Field:
    """A column of schema.yaml; a check that cannot be tested on a single value is a `UserError`."""
    bare, tests, meta = kind(name, spec["dtype"]), list[Test](), dict[str, Any]()
    found = checks(spec)
    literal = None
    if list(found) == ["isin"] and bare in (int, str):
        literal = Literal[tuple(found.pop("isin"))]
    for check, value in found.items():
        if limit := limits(check, value, bare):
            meta |= limit
        elif check in TESTS:
            tests.append(TESTS[check](moment(value) if bare not in (int, float, bool, str) else value))
        else:
            raise UserError(
                f"{SCHEMA}: the service cannot test {check} of column {name} on one row; write it otherwise"
            )
    return Field(
        name, spec["dtype"], bool(spec.get("nullable")), needed, typed(bare, {}), literal or typed(bare, meta), tests
    )


def moment(value: Any) -> Any:
    """A bound of a time column, which YAML may give as text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def struct(columns: Sequence[Field], strict: bool) -> type[Row]:
    """The type of a row: an unknown column is refused, one that may be null may be left out."""
    fields: list[Any] = []
    for number, item in enumerate(columns):
        found = item.checked if strict else item.bare
        if not item.needed:
            fields.append((f"f{number}", found | None | msgspec.UnsetType, msgspec.UNSET))
        else:
            fields.append((f"f{number}", found | None, None) if item.nullable else (f"f{number}", found))
    names = {f"f{number}": item.name for number, item in enumerate(columns)}
    return msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)


class Rows:
    """What the service accepts: the model's columns as schema.yaml says; the target is no input."""

    def __init__(
        self, data: Data, dtypes: dict[str, str] | None = None, flag: bool = False, schema: Path = SCHEMA
    ) -> None:
        specs = yaml.safe_load(schema.read_text(encoding="utf-8"))["columns"]
        strangers = [name for name in data.features if name not in specs]
        if strangers:
            raise UserError(f"{schema} lacks {', '.join(strangers)}, which params.yaml names under data.features")
        names = [*data.features, *(name for name in specs if name not in (*data.features, data.target))]
        self.columns = [column(name, specs[name], name in data.features) for name in names]
        self.clashes = {name for name in names if name in WORDS or name.startswith("p_")}
        self.tested = [(f"f{i}", item) for i, item in enumerate(self.columns) if item.tests]
        self.width, self.flag = len(data.features), flag
        self.dtypes = {item.name: (dtypes or {}).get(item.name, item.dtype) for item in self.columns[: self.width]}
        self.shapes = [(name, shape(dtype)) for name, dtype in self.dtypes.items()]
        self.values = attrgetter("f0", *(f"f{i}" for i in range(1, self.width)), "__class__")
        self.type = struct(self.columns, strict=True)
        self.strict = msgspec.json.Decoder(self.type | list[self.type])  # type: ignore[name-defined]
        loose = struct(self.columns, strict=False)
        self.loose = msgspec.json.Decoder(loose | list[loose])  # type: ignore[valid-type]

    def decode(self, body: bytes) -> tuple[list[Row], bool, list[list[str]] | None]:
        """The rows of a body, whether it was a list, and the flagged columns of each row if any was."""
        try:
            found = self.strict.decode(body)
        except msgspec.ValidationError as problem:
            if not self.flag:
                raise Refused(str(problem)) from None
            return self.flagged(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise Refused(f"the body is not JSON: {problem}", 400) from None
        rows = found if isinstance(found, list) else [found]
        if self.tested and (broken := self.broken(rows)):
            if not self.flag:
                raise Refused(f"Invalid value - at `$[{broken[0]}].{broken[1]}`")
            return self.flagged(body)
        return rows, rows is found, None

    def broken(self, rows: list[Row]) -> tuple[int, str] | None:
        """The first row and column that fail a check which msgspec does not test."""
        for number, row in enumerate(rows):
            for field, item in self.tested:
                value = getattr(row, field)
                if value not in (None, msgspec.UNSET) and not all(test(value) for test in item.tests):
                    return number, item.name
        return None

    def flagged(self, body: bytes) -> tuple[list[Row], bool, list[list[str]]]:
        """Rows whose types are right, with the columns whose values break a check."""
        try:
            found = self.loose.decode(body)
        except msgspec.ValidationError as problem:
            raise Refused(str(problem)) from None
        rows = found if isinstance(found, list) else [found]
        fields = [(f"f{number}", item) for number, item in enumerate(self.columns)]
        marks = [[c.name for f, c in fields if not c.keeps(getattr(row, f))] for row in rows]
        return rows, rows is found, marks

    def logged(self, row: Row) -> Any:
        """A row as it is logged: a column that the log has a word for itself gets a stroke behind its name."""
        if not self.clashes:
            return row
        values = {item.name: getattr(row, f"f{number}") for number, item in enumerate(self.columns)}
        kept = {name: value for name, value in values.items() if value is not msgspec.UNSET}
        return {f"{name}_" if name in self.clashes else name: value for name, value in kept.items()}

    def table(self, rows: list[Row]) -> Table:
        """The rows as a light table."""
        values = zip(*map(self.values, rows), strict=True)
        return Table({name: shape(v) for (name, shape), v in zip(self.shapes, values, strict=False)}, self.dtypes)

    def frame(self, rows: list[Row]) -> "pd.DataFrame":
        """The rows as the table that `features` knows from training: same columns, same dtypes."""
        import pandas as pd

        values = zip(*map(self.values, rows), strict=True)
        return pd.DataFrame(
            {name: array(dtype, v) for (name, dtype), v in zip(self.dtypes.items(), values, strict=False)}
        )


def shape(dtype: str) -> Callable[[Sequence[Any]], Column]:
    """What makes a light column of values of a dtype."""
    kind = {"i": int, "u": int, "f": float}.get(
        dtype[0].lower() if re.match(r"[uU]?[iI]nt|[fF]loat", dtype) else "", object
    )
    return lambda values: np.array(values, kind).view(Column)


def array(dtype: str, values: Sequence[Any]) -> Any:
    """Values as an array of a dtype; None is what the dtype has for it."""
    import pandas as pd

    if re.match(r"u?int|float|datetime64\[\w+\]$", dtype):
        return np.array(values, dtype)
    if dtype == "bool":
        return np.array(values, "bool")
    return pd.array(values, dtype="str" if dtype.startswith("str") else dtype)  # type: ignore[call-overload]
