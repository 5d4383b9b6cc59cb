"""Rows of a request: typed while they are decoded, then held to the checks of schema.yaml; no pandera is needed."""

import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from modelyard.core.errors import UserError
from modelyard.core.params import DataParams
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import to_log_column
from modelyard.data.schema_fields import SchemaField, build_field, read_column_specs, read_personal_columns
from modelyard.inference.columns import LightFrame, LightSeries

if TYPE_CHECKING:
    import pandas as pd

Row = msgspec.Struct


class RequestError(Exception):
    """What a client is told: the status, a sentence, and which row and field."""

    def __init__(self, sentence: str, status: int = 422, field: str | None = None, row: int | None = None) -> None:
        super().__init__(sentence)
        self.status, self.field, self.row = status, field, row


def decode_body(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> list[Any]:
    """The values of a body, which is one object or a list of them; else a refusal that names row and field."""
    try:
        found = decoder.decode(body)
    except msgspec.ValidationError as problem:
        sentence = str(problem)
        at = re.search(r" - at `\$(?:\[(\d+)\])?(?:\.(.*))?`$", sentence)
        named, row, field = re.search(r"field `(.*?)`", sentence), at and at[1], at and at[2]
        plain = sentence.replace(" - at `$`", "")
        raise RequestError(plain, 422, named[1] if named else field or None, int(row) if row else None) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RequestError(f"the body is not JSON: {problem}", 400) from None
    return found if isinstance(found, list) else [found]


def build_row_type(columns: Sequence[SchemaField], described: bool = False) -> type[Row]:
    """The type of a row: an unknown column is refused, one that may be null may be left out."""
    fields: list[Any] = []
    for number, item in enumerate(columns):
        kind = item.described() if described else item.type
        if not item.is_required:
            fields.append((f"f{number}", kind | None | msgspec.UnsetType, msgspec.UNSET))
        else:
            fields.append((f"f{number}", kind | None, None) if item.nullable else (f"f{number}", kind))
    names = {f"f{number}": item.name for number, item in enumerate(columns)}
    return msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)


class RequestDecoder:
    """What the service accepts: the model's columns as schema.yaml says; the target is no input."""

    def __init__(
        self, data: DataParams, dtypes: dict[str, str] | None = None, flag: bool = False, schema: Path = SCHEMA_YAML
    ) -> None:
        specs = read_column_specs(schema)
        strangers = [name for name in data.features if name not in specs]
        if strangers:
            raise UserError(f"{schema} lacks {', '.join(strangers)}, which params.yaml names under data.features")
        names = [*data.features, *(name for name in specs if name not in (*data.features, data.target))]
        try:
            self.columns = [build_field(name, specs[name], name in data.features) for name in names]
        except (AttributeError, KeyError, TypeError, ValueError, re.error) as problem:
            raise UserError(f"{schema} says of a column what makes no sense ({problem!r}); correct it") from None
        self.personal, self.flag = read_personal_columns(schema), flag
        self.logs_rows_unchanged = not self.personal and all(to_log_column(name) == name for name in names)
        self.dtypes = {c.name: (dtypes or {}).get(c.name, c.dtype) for c in self.columns if c.is_required}
        kinds: dict[str, type] = {"i": int, "u": int, "f": float}
        self.kinds = [(name, kinds.get(dtype[0].lower(), object)) for name, dtype in self.dtypes.items()]
        self.values = attrgetter(*(f"f{number}" for number in range(len(self.dtypes))), "__class__")
        self.all_values = attrgetter(*(f"f{number}" for number in range(len(names))), "__class__")
        kind = build_row_type(self.columns)
        self.decoder = msgspec.json.Decoder(kind | list[kind])  # type: ignore[valid-type]

    def decode(self, body: bytes) -> list[Row]:
        """The rows of a body, typed but not yet checked."""
        return decode_body(self.decoder, body)

    def check(self, rows: list[Row]) -> list[list[str]]:
        """The columns of each row that break a check: refused, or flagged where params.yaml says so."""
        marks: list[list[str]] = []
        for number, row in enumerate(rows):
            marks.append([])
            for item, value in zip(self.columns, self.all_values(row), strict=False):
                if item.checks and (check := item.broken(value)):
                    if not self.flag:
                        said = f"`{item.name}` breaks a rule of schema.yaml: {check} {item.checks[check]}"
                        raise RequestError(said, 422, item.name, number)
                    marks[-1].append(item.name)
        return marks

    def to_log_row(self, row: Row) -> Any:
        """A row as it is logged: each column where the log has a place for it, but no personal one."""
        if self.logs_rows_unchanged:
            return row
        pairs = ((item.name, value) for item, value in zip(self.columns, self.all_values(row), strict=False))
        return {to_log_column(n): value for n, value in pairs if value is not msgspec.UNSET and n not in self.personal}

    def table(self, rows: list[Row]) -> LightFrame:
        """The rows as a light table."""
        values = zip(*map(self.values, rows), strict=True)
        arrays = [(n, np.array(v, kind).view(LightSeries)) for (n, kind), v in zip(self.kinds, values, strict=False)]
        return LightFrame(dict(arrays), self.dtypes)

    def frame(self, rows: list[Row]) -> "pd.DataFrame":
        """The rows as the table that `features` knows from training: same columns, same dtypes."""
        import pandas as pd

        values = zip(*map(self.values, rows), strict=True)
        return pd.DataFrame({n: pd.Series(v, dtype=d) for (n, d), v in zip(self.dtypes.items(), values, strict=False)})
