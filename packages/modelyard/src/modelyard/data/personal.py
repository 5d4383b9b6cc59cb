"""Which columns are about one person."""

import re

import pandas as pd

# Names of columns that are about one person; `personal: false` in schema.yaml says that such a column is not.
PERSONAL_NAME_PATTERN = re.compile(
    r"(?i)(^|_)(e_?mail|phone|mobile|fax|(first|last|full|middle|given|family|sur|maiden)_?name|street|birth_?da(y|te)"
    r"|date_of_birth|dob|ssn|passport|iban|ip_address|(home|mail|postal)_?address)(_|$)"
)
EMAIL_PATTERN = r"[^@\s]+@[^@\s]+\.\w+"


def is_personal_name(name: str) -> bool:
    """Return whether a column is about one person, by its name."""
    return bool(PERSONAL_NAME_PATTERN.search(re.sub(r"\W+", "_", name)))


def holds_email_addresses(values: pd.Series) -> bool:
    """Return whether most values of a column are e-mail addresses."""
    return bool(values.astype(str).str.fullmatch(EMAIL_PATTERN).mean() > 0.5)
