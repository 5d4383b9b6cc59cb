"""Reads schema.yaml without pandera: the type of each column, and checks of single values."""

import operator
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import yaml

from modelyard.core.errors import InvalidFileError, SettingError
from modelyard.core.paths import SCHEMA_YAML
from modelyard.core.yaml import read_yaml

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_CURE = "`make schema WRITE=1` infers it again"
MAX_INT64 = 2**63 - 1
MAX_EXACT_FLOAT = 2**53  # the largest whole number up to which floats have no gaps
MONTH_DAY_PATTERN = (
    r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
)
TIME_PATTERN = (
    rf"^[12][0-9]{{3}}-{MONTH_DAY_PATTERN}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,6}})?$"  # for OpenAPI
)
LOCAL_TIME = msgspec.Meta(tz=False, extra_json_schema={"pattern": TIME_PATTERN, "description": "local time, ISO 8601"})
# A whole number may come as 3 or as 3.0, as long as it fits.
WholeNumber = (
    Annotated[int, msgspec.Meta(ge=-(2**63), le=MAX_INT64)]
    | Annotated[float, msgspec.Meta(ge=-MAX_EXACT_FLOAT, le=MAX_EXACT_FLOAT, multiple_of=1)]
)
TYPES_BY_DTYPE: dict[str, Any] = {
    r"u?int\d*": WholeNumber,
    r"float\d*": float,
    r"bool(ean)?": bool,
    r"datetime64\[[a-z]+\]": Annotated[datetime, LOCAL_TIME],
    r"datetime64\[[a-z]+, *\S+\]": Annotated[datetime, msgspec.Meta(tz=True)],
    r"str|string(\[\w+\])?|object|category": str,
}
# The keys of a column in schema.yaml that are not checks.
COLUMN_PROPERTIES = frozenset(
    {
        "checks",
        "coerce",
        "default",
        "description",
        "drop_invalid_rows",
        "dtype",
        "name",
        "nullable",
        "personal",
        "regex",
        "report_duplicates",
        "required",
        "title",
        "unique",
    }
)
# For each of pandera's checks its keyword in JSON Schema (empty where there is none), and the test of one value.
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
COMPARISONS = (operator.eq, operator.ne, operator.gt, operator.ge, operator.lt, operator.le)
PATTERN_CHECKS = ("str_matches", "str_contains")


def read_column_specs(path: Path = SCHEMA_YAML) -> dict[str, Any]:
    """Return what schema.yaml says of each column.

    Raises
    ------
    InvalidFileError
        The file names no columns.
    """
    try:
        columns = read_yaml(path)["columns"]
    except (yaml.YAMLError, ValueError, KeyError, TypeError):
        columns = None
    if not isinstance(columns, dict):
        raise InvalidFileError(path, "names no columns", SCHEMA_CURE)
    return columns


def read_personal_columns(path: Path = SCHEMA_YAML) -> frozenset[str]:
    """Return the columns that schema.yaml marks `personal: true`, whose values no log and no report may show."""
    columns = read_column_specs(path) if path.exists() else {}
    return frozenset(name for name, spec in columns.items() if isinstance(spec, dict) and spec.get("personal"))


class SchemaField(msgspec.Struct, frozen=True):
    """A column of schema.yaml, as the service reads it from JSON.

    Parameters
    ----------
    name
        Its name.
    dtype
        Its pandas type, as schema.yaml writes it.
    nullable
        Whether a value may be missing.
    is_required
        Whether a row must have it.
    type
        The type that msgspec decodes a value to.
    checks
        The checks of a value, by the names in `SUPPORTED_CHECKS`.
    """

    name: str
    dtype: str
    nullable: bool
    is_required: bool
    type: Any
    checks: dict[str, Any]

    def find_failed_check(self, value: Any) -> str | None:
        """Return the first check that a value fails; None where it passes all, or is missing."""
        if value is None or value is msgspec.UNSET:
            return None
        for check, wanted in self.checks.items():
            _, test = SUPPORTED_CHECKS[check]
            if not test(value, wanted):
                return check
        return None

    def test_values(self, check: str, values: "pd.Series[Any]") -> Any:
        """Return for each value of a column whether it passes a check, as a mask of shape (n,)."""
        _, test = SUPPORTED_CHECKS[check]
        wanted = self.checks[check]
        if test in COMPARISONS:
            return test(values, wanted).to_numpy(dtype=bool, na_value=False)
        codes, distinct = values.factorize()
        passed = [bool(test(value, wanted)) for value in distinct.tolist()]
        return np.array([*passed, True])[codes]  # a missing value has the code -1

    def accepts(self, value: Any) -> bool:
        """Return whether a value has the type and passes all checks."""
        try:
            msgspec.convert(value, self.type | None)
        except msgspec.ValidationError:
            return False
        return not self.find_failed_check(value)

    def to_openapi_type(self) -> Any:
        """Return the type with its checks as far as JSON Schema has keywords for them."""
        if self.type not in (WholeNumber, float, str):
            return self.type
        is_whole = self.type is WholeNumber
        schema: dict[str, Any] = {"minimum": -MAX_EXACT_FLOAT, "maximum": MAX_EXACT_FLOAT} if is_whole else {}
        for check, wanted in self.checks.items():
            keyword, _ = SUPPORTED_CHECKS[check]
            if keyword:
                schema[keyword] = wanted
        if "pattern" in schema:
            schema["pattern"] = f"^(?:{schema['pattern']})"
        return Annotated[int if is_whole else self.type, msgspec.Meta(extra_json_schema=schema)]


def normalize_checks(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the checks of a column by name, from any form in which pandera writes them.

    `in_range` and `str_length` become a check for each end.
    """
    checks = {key: value for key, value in spec.items() if key not in COLUMN_PROPERTIES}
    listed = spec.get("checks") or {}
    if isinstance(listed, list):
        listed = {item["options"]["check_name"]: item for item in listed}
    checks |= listed
    checks = {name: _unwrap_check(value) for name, value in checks.items()}
    limits = checks.pop("in_range", None)
    if limits:
        checks |= _split_range(limits)
    if "str_length" in checks:
        checks |= _split_length(checks.pop("str_length"))
    return checks


def build_field(name: str, spec: dict[str, Any], needed: bool) -> SchemaField:
    """Return a column of schema.yaml, as the service reads it from JSON.

    Parameters
    ----------
    name
        The column.
    spec
        What schema.yaml says of it.
    needed
        Whether a row must have it.

    Raises
    ------
    SettingError
        JSON has no value for its dtype, or a check cannot be tested on a single value.
    """
    dtype = spec["dtype"]
    kind = _find_type(dtype)
    if kind is None:
        problem = f"has the dtype {dtype}, for which JSON has no value"
        raise SettingError(f"{SCHEMA_YAML}: column {name}", problem, "give it another type")
    checks = normalize_checks(spec)
    for check in checks:
        if check not in SUPPORTED_CHECKS:
            problem = f"has the check {check}, which the service cannot test on one row"
            raise SettingError(f"{SCHEMA_YAML}: column {name}", problem, "use another check")
    for check in PATTERN_CHECKS:
        if check in checks:
            re.compile(checks[check])
    if dtype.startswith("datetime"):  # YAML may give a time as text
        for check, value in checks.items():
            checks[check] = datetime.fromisoformat(value) if isinstance(value, str) else value
    return SchemaField(name, dtype, bool(spec.get("nullable")), needed, kind, checks)


def _find_type(dtype: str) -> Any:
    """Return the type that msgspec decodes a column of a dtype to; None where JSON has no such value."""
    for pattern, kind in TYPES_BY_DTYPE.items():
        if re.fullmatch(pattern, dtype, re.IGNORECASE):
            return kind
    return None


def _unwrap_check(value: Any) -> Any:
    """Return the arguments of a check without pandera's options; a single `value` alone."""
    if not isinstance(value, dict):
        return value
    arguments = {key: argument for key, argument in value.items() if key != "options"}
    return arguments["value"] if list(arguments) == ["value"] else arguments


def _split_range(limits: dict[str, Any]) -> dict[str, Any]:
    """Return the two checks that `in_range` stands for."""
    checks = {}
    for check, end in (("greater_than", "min"), ("less_than", "max")):
        is_closed = limits.get(f"include_{end}", True)
        checks[f"{check}_or_equal_to" if is_closed else check] = limits[f"{end}_value"]
    return checks


def _split_length(limits: Any) -> dict[str, Any]:
    """Return the checks that `str_length` stands for; a plain number is the exact length."""
    if not isinstance(limits, dict):
        limits = {"min_value": limits, "max_value": limits}
    return {f"str_length_{end}": limit for end, limit in limits.items() if limit is not None}
