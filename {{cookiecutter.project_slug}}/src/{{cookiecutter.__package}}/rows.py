"""Rows of a request: typed while they are decoded, then held to the checks of schema.yaml; no pandera is needed."""

import operator
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import yaml

from .config import SCHEMA, Data, UserError
from .light import Column, Table

if TYPE_CHECKING:
    import pandas as pd

Row = msgspec.Struct
Meta = msgspec.Meta

DAY = r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
TIME = rf"^[12][0-9]{{3}}-{DAY}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?$"  # for OpenAPI
LOCAL = Meta(tz=False, extra_json_schema={"pattern": TIME, "description": "local time, ISO 8601"})
# A whole number may come as 3 or as 3.0, as long as it fits.
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(ge=-(2**53), le=2**53, multiple_of=1)]
KINDS: dict[str, Any] = {
    r"u?int\d*": Whole,
    r"float\d*": float,
    r"bool(ean)?": bool,
    r"datetime64\[[a-z]+\]": Annotated[datetime, LOCAL],
    r"datetime64\[[a-z]+, *\S+\]": Annotated[datetime, Meta(tz=True)],
    r"str|string(\[\w+\])?|object|category": str,
}
WORDS = ("id", "time", "model", "prediction", "flags", "truth")  # that the prediction log has itself
PROPERTIES = {
    *("checks", "coerce", "default", "description", "drop_invalid_rows", "dtype", "name", "nullable", "regex"),
    *("report_duplicates", "required", "title", "unique", "personal"),
}
# Of each of pandera's checks the word that JSON Schema has for it, if it has one, and the test of a value.
CHECKS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
    "equal_to": ("const", operator.eq),
    "not_equal_to": ("", operator.ne),
    "greater_than": ("exclusiveMinimum", operator.gt),
    "greater_than_or_equal_to": ("minimum", operator.ge),
    "less_than": ("exclusiveMaximum", operator.lt),
    "less_than_or_equal_to": ("maximum", operator.le),
    "isin": ("enum", lambda value, allowed: value in allowed),
    "notin": ("", lambda value, refused: value not in refused),
    "str_matches": ("pattern", lambda value, pattern: re.match(pattern, value)),
    "str_contains": ("", lambda value, pattern: re.search(pattern, value)),
    "str_startswith": ("", str.startswith),
    "str_endswith": ("", str.endswith),
    "str_length_min_value": ("minLength", lambda value, least: len(value) >= least),
    "str_length_max_value": ("maxLength", lambda value, most: len(value) <= most),
}


class Refused(Exception):
    """What a client is told: the status, a sentence, and which row and field."""

    def __init__(self, sentence: str, status: int = 422, field: str | None = None, row: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.field, self.row = status, field, row


def personal(schema: Path = SCHEMA) -> frozenset[str]:
    """The columns that schema.yaml marks `personal: true`: no log and no report shows a value of them."""
    columns = specs_of(schema) if schema.exists() else {}
    return frozenset(name for name, spec in columns.items() if isinstance(spec, dict) and spec.get("personal"))


def specs_of(schema: Path) -> dict[str, Any]:
    """What schema.yaml says of each column; without such a thing it is a `UserError`."""
    try:
        found = yaml.safe_load(schema.read_text(encoding="utf-8"))["columns"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{schema} names no columns; `make schema` infers it again")
    return found


def place(column: str) -> str:
    """Where the log keeps a column of the data: behind a stroke where the log has such a word itself."""
    return f"{column}_" if column.rstrip("_") in WORDS or column.startswith("p_") else column


def decoded(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> list[Any]:
    """The values of a body, which is one object or a list of them; else a refusal that names row and field."""
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as problem:
        sentence = str(problem)
        at = re.search(r" - at `\$(?:\[(\d+)\])?(?:\.(.*))?`$", sentence)
        named, row, field = re.search(r"field `(.*?)`", sentence), at and at[1], at and at[2]
        plain = sentence.replace(" - at `$`", "")
        raise Refused(plain, 422, named[1] if named else field or None, int(row) if row else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise Refused(f"the body is not JSON: {problem}", 400) from None
    return found if isinstance(found, list) else [found]


class Field(msgspec.Struct, frozen=True):
    """A column: the type that its dtype gives, and its checks by name."""

    name: str
    dtype: str
    nullable: bool
    needed: bool
    type: Any
    checks: dict[str, Any]

    def broken(self, value: Any) -> str | None:
        """The first check that a value of the type fails, if it fails one."""
        if value is not None and value is not msgspec.UNSET:
            for check, wanted in self.checks.items():
                if not CHECKS[check][1](value, wanted):
                    return check
        return None

    def keeps(self, value: Any) -> bool:
        """Whether any value has the type and passes every check."""
        try:
            msgspec.convert(value, self.type | None)
        except msgspec.ValidationError:
            return False
        return not self.broken(value)

    def described(self) -> Any:
        """The type as OpenAPI shall describe it: with the checks that JSON Schema has words for."""
        if self.type not in (Whole, float, str):
            return self.type
        words: dict[str, Any] = {"minimum": -(2**53), "maximum": 2**53} if self.type is Whole else {}
        words |= {CHECKS[check][0]: wanted for check, wanted in self.checks.items() if CHECKS[check][0]}
        if "pattern" in words:
            words["pattern"] = f"^(?:{words['pattern']})"
        return Annotated[int if self.type is Whole else self.type, Meta(extra_json_schema=words)]


def checks(spec: dict[str, Any]) -> dict[str, Any]:
    """The checks of a column by name, in whichever form pandera wrote them; a range is its two bounds."""
    found = {key: value for key, value in spec.items() if key not in PROPERTIES}
    listed = spec.get("checks") or {}
    found |= {item["options"]["check_name"]: item for item in listed} if isinstance(listed, list) else listed
    for name, value in list(found.items()):
        stats = {k: v for k, v in value.items() if k != "options"} if isinstance(value, dict) else {"value": value}
        found[name] = stats["value"] if list(stats) == ["value"] else stats
    if inside := found.pop("in_range", None):
        ends = [("greater_than", "min"), ("less_than", "max")]
        closed = {end: "_or_equal_to" if inside.get(f"include_{end}", True) else "" for _, end in ends}
        found |= {name + closed[end]: inside[f"{end}_value"] for name, end in ends}
    if "str_length" in found:
        size = found.pop("str_length")
        limits = size if isinstance(size, dict) else {"min_value": size, "max_value": size}
        found |= {f"str_length_{end}": limit for end, limit in limits.items() if limit is not None}
    return found


def column(name: str, spec: dict[str, Any], needed: bool) -> Field:
    """A column of schema.yaml; a dtype or a check that means nothing to a single value is a `UserError`."""
    dtype, found = spec["dtype"], checks(spec)
    kind = next((kind for pattern, kind in KINDS.items() if re.fullmatch(pattern, dtype, re.IGNORECASE)), None)
    if kind is None:
        raise UserError(f"{SCHEMA}: JSON has no value for column {name} of dtype {dtype}; give it another type")
    if strange := [check for check in found if check not in CHECKS]:
        raise UserError(
            f"{SCHEMA}: the service cannot test {strange[0]} of column {name} on one row; write it otherwise"
        )
    for pattern in (found[check] for check in ("str_matches", "str_contains") if check in found):
        re.compile(pattern)
    if dtype.startswith("datetime"):  # YAML may give a time as text
        found = {k: datetime.fromisoformat(v) if isinstance(v, str) else v for k, v in found.items()}
    return Field(name, dtype, bool(spec.get("nullable")), needed, kind, found)


def struct(columns: Sequence[Field], described: bool = False) -> type[Row]:
    """The type of a row: an unknown column is refused, one that may be null may be left out."""
    fields: list[Any] = []
    for number, item in enumerate(columns):
        kind = item.described() if described else item.type
        if not item.needed:
            fields.append((f"f{number}", kind | None | msgspec.UnsetType, msgspec.UNSET))
        else:
            fields.append((f"f{number}", kind | None, None) if item.nullable else (f"f{number}", kind))
    names = {f"f{number}": item.name for number, item in enumerate(columns)}
    return msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)


class Rows:
    """What the service accepts: the model's columns as schema.yaml says; the target is no input."""

    def __init__(
        self, data: Data, dtypes: dict[str, str] | None = None, flag: bool = False, schema: Path = SCHEMA
    ) -> None:
        specs = specs_of(schema)
        strangers = [name for name in data.features if name not in specs]
        if strangers:
            raise UserError(f"{schema} lacks {', '.join(strangers)}, which params.yaml names under data.features")
        names = [*data.features, *(name for name in specs if name not in (*data.features, data.target))]
        try:
            self.columns = [column(name, specs[name], name in data.features) for name in names]
        except (AttributeError, KeyError, TypeError, ValueError, re.error) as problem:
            raise UserError(f"{schema} says of a column what makes no sense ({problem!r}); correct it") from None
        self.personal, self.flag = personal(schema), flag
        self.plain = not self.personal and all(place(name) == name for name in names)
        self.dtypes = {c.name: (dtypes or {}).get(c.name, c.dtype) for c in self.columns if c.needed}
        kinds: dict[str, type] = {"i": int, "u": int, "f": float}
        self.kinds = [(name, kinds.get(dtype[0].lower(), object)) for name, dtype in self.dtypes.items()]
        self.values = attrgetter(*(f"f{number}" for number in range(len(self.dtypes))), "__class__")
        self.every = attrgetter(*(f"f{number}" for number in range(len(names))), "__class__")
        kind = struct(self.columns)
        self.decoder = msgspec.json.Decoder(kind | list[kind])  # type: ignore[valid-type]

    def decode(self, body: bytes) -> list[Row]:
        """The rows of a body, typed but not yet checked."""
        return decoded(self.decoder, body)

    def check(self, rows: list[Row]) -> list[list[str]]:
        """The columns of each row that break a check: refused, or flagged where params.yaml says so."""
        marks: list[list[str]] = []
        for number, row in enumerate(rows):
            marks.append([])
            for item, value in zip(self.columns, self.every(row), strict=False):
                if item.checks and (check := item.broken(value)):
                    if not self.flag:
                        said = f"`{item.name}` breaks a rule of schema.yaml: {check} {item.checks[check]}"
                        raise Refused(said, 422, item.name, number)
                    marks[-1].append(item.name)
        return marks

    def logged(self, row: Row) -> Any:
        """A row as it is logged: each column where the log has a place for it, but no personal one."""
        if self.plain:
            return row
        pairs = ((item.name, value) for item, value in zip(self.columns, self.every(row), strict=False))
        return {place(n): value for n, value in pairs if value is not msgspec.UNSET and n not in self.personal}

    def table(self, rows: list[Row]) -> Table:
        """The rows as a light table."""
        values = zip(*map(self.values, rows), strict=True)
        arrays = [(n, np.array(v, kind).view(Column)) for (n, kind), v in zip(self.kinds, values, strict=False)]
        return Table(dict(arrays), self.dtypes)

    def frame(self, rows: list[Row]) -> "pd.DataFrame":
        """The rows as the table that `features` knows from training: same columns, same dtypes."""
        import pandas as pd

        values = zip(*map(self.values, rows), strict=True)
        return pd.DataFrame({n: pd.Series(v, dtype=d) for (n, d), v in zip(self.dtypes.items(), values, strict=False)})
