"""TODO doc."""

import operator
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from modelyard.core.errors import UserError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml

Meta = msgspec.Meta
MONTH_DAY_PATTERN = (
    r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
TIME_PATTERN = (
    rf"^[12][0-9]{{3}}-{MONTH_DAY_PATTERN}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?$"  # for OpenAPI
)
LOCAL_TIME = Meta(tz=False, extra_json_schema={"pattern": TIME_PATTERN, "description": "local time, ISO 8601"})
# A whole number may come as 3 or as 3.0, as long as it fits.
WholeNumber = (
    Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(ge=-(2**53), le=2**53, multiple_of=1)]
)
TYPES_BY_DTYPE: dict[str, Any] = {
    r"u?int\d*": WholeNumber,
    r"float\d*": float,
    r"bool(ean)?": bool,
    r"datetime64\[[a-z]+\]": Annotated[datetime, LOCAL_TIME],
    r"datetime64\[[a-z]+, *\S+\]": Annotated[datetime, Meta(tz=True)],
    r"str|string(\[\w+\])?|object|category": str,
}
COLUMN_PROPERTIES = {
    *("checks", "coerce", "default", "description", "drop_invalid_rows", "dtype", "name", "nullable", "regex"),
    *("report_duplicates", "required", "title", "unique", "personal"),
}
# Of each of pandera's checks the word that JSON Schema has for it, if it has one, and the test of a value.
SUPPORTED_CHECKS: dict[str, tuple[str, Callable[[Any, Any], Any]]] = {
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


def read_personal_columns(schema: Path = SCHEMA_YAML) -> frozenset[str]:
    """The columns that schema.yaml marks `personal: true`: no log and no report shows a value of them."""
    columns = read_column_specs(schema) if schema.exists() else {}
    return frozenset(name for name, spec in columns.items() if isinstance(spec, dict) and spec.get("personal"))


def read_column_specs(schema: Path) -> dict[str, Any]:
    """What schema.yaml says of each column; without such a thing it is a `UserError`."""
    try:
        found = read_yaml(schema)["columns"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{schema} names no columns; `make schema` infers it again")
    return found


class SchemaField(msgspec.Struct, frozen=True):
    """A column: the type that its dtype gives, and its checks by name."""

    name: str
    dtype: str
    nullable: bool
    is_required: bool
    type: Any
    checks: dict[str, Any]

    def broken(self, value: Any) -> str | None:
        """The first check that a value of the type fails, if it fails one."""
        if value is not None and value is not msgspec.UNSET:
            for check, wanted in self.checks.items():
                if not SUPPORTED_CHECKS[check][1](value, wanted):
                    return check
        return None

    def accepts(self, value: Any) -> bool:
        """Whether any value has the type and passes every check."""
        try:
            msgspec.convert(value, self.type | None)
        except msgspec.ValidationError:
            return False
        return not self.broken(value)

    def described(self) -> Any:
        """The type as OpenAPI shall describe it: with the checks that JSON Schema has words for."""
        if self.type not in (WholeNumber, float, str):
            return self.type
        words: dict[str, Any] = {"minimum": -(2**53), "maximum": 2**53} if self.type is WholeNumber else {}
        words |= {
            SUPPORTED_CHECKS[check][0]: wanted for check, wanted in self.checks.items() if SUPPORTED_CHECKS[check][0]
        }
        if "pattern" in words:
            words["pattern"] = f"^(?:{words['pattern']})"
        return Annotated[int if self.type is WholeNumber else self.type, Meta(extra_json_schema=words)]


def normalize_checks(spec: dict[str, Any]) -> dict[str, Any]:
    """The checks of a column by name, in whichever form pandera wrote them; a range is its two bounds."""
    found = {key: value for key, value in spec.items() if key not in COLUMN_PROPERTIES}
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


def build_field(name: str, spec: dict[str, Any], needed: bool) -> SchemaField:
    """A column of schema.yaml; a dtype or a check that means nothing to a single value is a `UserError`."""
    dtype, found = spec["dtype"], normalize_checks(spec)
    kind = next((kind for pattern, kind in TYPES_BY_DTYPE.items() if re.fullmatch(pattern, dtype, re.IGNORECASE)), None)
    if kind is None:
        raise UserError(f"{SCHEMA_YAML}: JSON has no value for column {name} of dtype {dtype}; give it another type")
    if strange := [check for check in found if check not in SUPPORTED_CHECKS]:
        raise UserError(
            f"{SCHEMA_YAML}: the service cannot test {strange[0]} of column {name} on one row; write it otherwise"
        )
    for pattern in (found[check] for check in ("str_matches", "str_contains") if check in found):
        re.compile(pattern)
    if dtype.startswith("datetime"):  # YAML may give a time as text
        found = {k: datetime.fromisoformat(v) if isinstance(v, str) else v for k, v in found.items()}
    return SchemaField(name, dtype, bool(spec.get("nullable")), needed, kind, found)
