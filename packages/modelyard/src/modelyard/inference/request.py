"""Decode the rows of a request: msgspec checks the types while it decodes, then schema.yaml's checks follow.

Neither pandera nor pandas is needed, so that a service starts in a fraction of a second.
"""

import re
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from modelyard.core.errors import InvalidFileError, SettingError
from modelyard.core.params import DataParams
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.predictions import to_log_column
from modelyard.data.schema_fields import SchemaField, build_field, read_column_specs, read_personal_columns
from modelyard.inference.columns import LightFrame, LightSeries

if TYPE_CHECKING:
    import pandas as pd

Row = msgspec.Struct
# msgspec takes no field whose name holds one of these, so that such a name is spelled with a character for private use.
UNSPELLABLE = {ord(letter): 0xF000 + ord(letter) for letter in ('"', "\\", *map(chr, range(32)))}
SPELLABLE = {private: letter for letter, private in UNSPELLABLE.items()}
NUMPY_TYPES: dict[str, type] = {"i": int, "u": int, "f": float}  # by the first letter of a dtype; else object


class RequestError(Exception):
    """A request is refused.

    Parameters
    ----------
    sentence
        What is wrong, for the client.
    status
        The HTTP status.
    field, row
        Where in the body it is wrong, if that is known.
    """

    def __init__(self, sentence: str, status: int = 422, field: str | None = None, row: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.field = field
        self.row = row


def decode_body(decoder: "msgspec.json.Decoder[Any]", body: bytes) -> list[Any]:
    """Return the values of a JSON body, which is one object or a list of objects.

    Raises
    ------
    RequestError
        The body is not JSON (400), or not of the decoder's type (422).
    """
    try:
        values = decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise describe_validation_error(str(problem)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RequestError(f"the body is not JSON: {problem}", 400) from None
    return values if isinstance(values, list) else [values]


def describe_validation_error(sentence: str) -> RequestError:
    """Return the error for one of msgspec's sentences, with the row and field that it names."""
    place = re.search(r" - at `\$(?:\[(\d+)\])?(?:\.(.*))?`$", sentence)
    row, field = place.groups() if place else (None, None)
    named = re.search(r"field `(.*?)`", sentence)
    if named:
        field = named[1]
    plain = sentence.replace(" - at `$`", "").translate(SPELLABLE)
    return RequestError(plain, 422, field.translate(SPELLABLE) if field else None, None if row is None else int(row))


def respell_names(body: bytes) -> bytes:
    """Return a JSON body with the names in it as the fields of a row spell them; one that is not JSON stays."""
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    rows = values if isinstance(values, list) else [values]
    if not all(isinstance(row, dict) for row in rows):
        return body
    respelled = [{name.translate(UNSPELLABLE): value for name, value in row.items()} for row in rows]
    return msgspec.json.encode(respelled if isinstance(values, list) else respelled[0])


def restore_names(content: bytes) -> bytes:
    """Return JSON with the names in it as the table spells them."""
    for private, letter in SPELLABLE.items():
        content = content.replace(chr(private).encode(), msgspec.json.encode(chr(letter))[1:-1])
    return content


def build_row_type(columns: Sequence[SchemaField], described: bool = False) -> type[Row]:
    """Return the type of a row, a msgspec Struct.

    Unknown columns are refused; a nullable column may be left out, as may one that the model does not need.

    Parameters
    ----------
    columns
        The columns, which become the fields `f0`, `f1`, ….
    described
        Whether the types carry their checks, for OpenAPI.
    """
    fields: list[Any] = []
    for number, column in enumerate(columns):
        kind = column.to_openapi_type() if described else column.type
        if not column.is_required:
            fields.append((f"f{number}", kind | None | msgspec.UnsetType, msgspec.UNSET))
        elif column.nullable:
            fields.append((f"f{number}", kind | None, None))
        else:
            fields.append((f"f{number}", kind))
    names = {f"f{number}": column.name.translate(UNSPELLABLE) for number, column in enumerate(columns)}
    return msgspec.defstruct("Row", fields, rename=names, kw_only=True, forbid_unknown_fields=True, gc=False)


def read_fields(data: DataParams, schema: Path) -> list[SchemaField]:
    """Return the columns that a row may have: the features in their order, then schema.yaml's other ones.

    Raises
    ------
    SettingError
        schema.yaml lacks a feature.
    InvalidFileError
        A column of schema.yaml makes no sense.
    """
    specs = read_column_specs(schema)
    unknown = [name for name in data.features if name not in specs]
    if unknown:
        raise SettingError("data.features", f"names {', '.join(unknown)}, which {schema} lacks", "describe it there")
    others = [name for name in specs if name not in (*data.features, data.target)]
    try:
        return [build_field(name, specs[name], name in data.features) for name in (*data.features, *others)]
    except (AttributeError, KeyError, TypeError, ValueError, re.error) as problem:
        sentence = f"describes a column in a way that makes no sense ({problem!r})"
        raise InvalidFileError(schema, sentence, "correct it") from None


class RequestDecoder:
    """Decodes and checks rows: the model's columns as schema.yaml describes them, without the target.

    Parameters
    ----------
    data
        The block `data` of params.yaml.
    dtypes
        The dtypes of the columns in training; default: those in schema.yaml.
    flag_violations
        Whether a value outside schema.yaml is flagged instead of refused.
    schema
        The schema file.
    """

    def __init__(
        self,
        data: DataParams,
        dtypes: dict[str, str] | None = None,
        flag_violations: bool = False,
        schema: Path = SCHEMA_YAML,
    ) -> None:
        self.flag_violations = flag_violations
        self.columns = read_fields(data, schema)
        self.personal = read_personal_columns(schema)
        names = [column.name for column in self.columns]
        required = [column for column in self.columns if column.is_required]
        self.has_odd_names = any(name.translate(UNSPELLABLE) != name for name in names)
        is_logged_alike = not self.personal and all(to_log_column(name) == name for name in names)
        self.logs_rows_unchanged = is_logged_alike and not self.has_odd_names
        self.dtypes = {column.name: (dtypes or {}).get(column.name, column.dtype) for column in required}
        self.array_types = [(name, NUMPY_TYPES.get(dtype[0].lower(), object)) for name, dtype in self.dtypes.items()]
        # With "__class__", a getter returns a tuple also for a single column.
        self.get_model_values = attrgetter(*(f"f{number}" for number in range(len(required))), "__class__")
        self.get_all_values = attrgetter(*(f"f{number}" for number in range(len(names))), "__class__")
        row_type = build_row_type(self.columns)
        self.decoder = msgspec.json.Decoder(row_type | list[row_type])  # type: ignore[valid-type]

    def decode(self, body: bytes) -> list[Row]:
        """Return the rows of a JSON body, with the right types but not yet checked; see `decode_body`."""
        return decode_body(self.decoder, respell_names(body) if self.has_odd_names else body)

    def find_violations(self, rows: list[Row]) -> list[list[str]]:
        """Return for each row the columns that fail a check of schema.yaml.

        Raises
        ------
        RequestError
            A value fails a check, and violations are not flagged.
        """
        violations: list[list[str]] = []
        for number, row in enumerate(rows):
            failed: list[str] = []
            violations.append(failed)
            for column, value in zip(self.columns, self.get_all_values(row), strict=False):
                if not column.checks:
                    continue
                check = column.find_failed_check(value)
                if check and not self.flag_violations:
                    sentence = f"`{column.name}` breaks a rule of schema.yaml: {check} {column.checks[check]}"
                    raise RequestError(sentence, 422, column.name, number)
                if check:
                    failed.append(column.name)
        return violations

    def to_log_row(self, row: Row) -> Any:
        """Return a row as it is logged: without personal columns, and with names that the log has not taken."""
        if self.logs_rows_unchanged:
            return row
        logged = {}
        for column, value in zip(self.columns, self.get_all_values(row), strict=False):
            if value is not msgspec.UNSET and column.name not in self.personal:
                logged[to_log_column(column.name)] = value
        return logged

    def to_light_frame(self, rows: list[Row]) -> LightFrame:
        """Return the rows as a light table; see `modelyard.inference.columns`."""
        values_by_column = zip(*map(self.get_model_values, rows), strict=True)
        columns = {}
        for (name, kind), values in zip(self.array_types, values_by_column, strict=False):
            columns[name] = np.array(values, kind).view(LightSeries)
        return LightFrame(columns, self.dtypes)

    def to_dataframe(self, rows: list[Row]) -> "pd.DataFrame":
        """Return the rows as the table that `features()` knows from training: same columns, same dtypes."""
        import pandas as pd

        values_by_column = zip(*map(self.get_model_values, rows), strict=True)
        columns = {}
        for (name, dtype), values in zip(self.dtypes.items(), values_by_column, strict=False):
            columns[name] = pd.Series(values, dtype=dtype)
        return pd.DataFrame(columns)
