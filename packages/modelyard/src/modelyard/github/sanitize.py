"""Take what a branch's run left behind as data: check its verdict, and make its report harmless in a comment."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from modelyard.core.errors import UserError

MAX_BODY_CHARACTERS = 65_536  # of one comment or issue on GitHub
MAX_FILE_BYTES = 2_000_000  # of a file that is read at all
MAX_OPEN_FOLDS = 10
TRUNCATION_NOTE = "\n\n*The report was cut here; the whole of it is in the run's summary and artifact.*\n"
MODEL_SIDES = ("champion", "candidate")
VERDICT_PATTERNS = {
    "verdict": "unchanged|better|not worse|worse|inconclusive",
    "decision": "pass|warn|block",
    "unattended": "open|keep|issue|nothing",
    "sentence": r"(?s).*\S.*",
    **dict.fromkeys(MODEL_SIDES, "([0-9a-f]{64})?"),
}
ALLOWED_TAGS = (
    "b|blockquote|br|code|details|em|h[1-6]|hr|i|kbd|li|ol|p|pre|strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul"
)
ZERO_WIDTH_SPACE = "\u200b"  # invisible; it separates what GitHub would otherwise read as one
SANITIZE_RULES = [
    (r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", ""),  # control and reordering characters
    (r"&(?=#|commat|num)", "&amp;"),  # a mention in disguise
    (rf"<(?!/?(?:{ALLOWED_TAGS})(?: open| align=\"\w+\")?\s*/?>)(?=[A-Za-z/!?])", "&lt;"),  # other tags, comments
    (r"!(?=\[)", f"!{ZERO_WIDTH_SPACE}"),  # an image becomes a link: nothing is loaded
    (r"@(?=[\w{])", f"@{ZERO_WIDTH_SPACE}"),  # a mention
    (r"(?<!\w)#(?=\d{1,9}\b)", f"#{ZERO_WIDTH_SPACE}"),  # a link to another issue
    (r"\b(GH)-(?=\d)", rf"\1{ZERO_WIDTH_SPACE}-"),
    (r"(?i)\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?=:?\s+(?:#|https?:|[\w.-]+/[\w.-]+#))", rf"\1{ZERO_WIDTH_SPACE}"),
]


class InvalidArtifactError(UserError):
    """A file from a run is missing or does not hold what it must."""


def sanitize_markdown(markdown: str) -> str:
    """Return Markdown that mentions nobody, loads nothing, hides nothing and closes no issue."""
    for pattern, replacement in SANITIZE_RULES:
        markdown = re.sub(pattern, replacement, markdown)
    return markdown


def sanitize_line(value: Any, limit: int = 300) -> str:
    """Return a value as one harmless line of at most `limit` characters."""
    one_line = " ".join(str(value).split())
    return sanitize_markdown(one_line)[:limit]


def truncate_markdown(markdown: str, limit: int = MAX_BODY_CHARACTERS) -> str:
    """Cut Markdown at the end of a line.

    Parameters
    ----------
    markdown
        The text.
    limit
        The number of characters that the result may have.

    Returns
    -------
    str
        The text itself where it fits; else its beginning, with open code blocks and folds closed and a note at the end.
    """
    if len(markdown) <= limit:
        return markdown
    room = limit - len(TRUNCATION_NOTE) - 200  # for what closes blocks and folds
    kept = markdown[:room].rpartition("\n")[0]
    if len(re.findall(r"(?m)^```", kept)) % 2:
        kept += "\n```"
    open_folds = max(kept.count("<details") - kept.count("</details>"), 0)
    return kept + "\n</details>" * min(open_folds, MAX_OPEN_FOLDS) + TRUNCATION_NOTE


def read_untrusted_text(path: Path) -> str:
    """Read a text file that a run of foreign code wrote.

    Raises
    ------
    InvalidArtifactError
        If the file is missing, a symbolic link, larger than two megabytes, or not UTF-8.
    """
    try:
        if path.is_symlink() or path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidArtifactError(f"{path.name} is no plain file below {MAX_FILE_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidArtifactError(f"there is no {path.name}") from None
    except UnicodeDecodeError:
        raise InvalidArtifactError(f"{path.name} is not text") from None


def read_untrusted_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of version 1 that a run of foreign code wrote.

    Raises
    ------
    InvalidArtifactError
        If the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(read_untrusted_text(path))
    except ValueError:
        raise InvalidArtifactError(f"{path.name} is not JSON") from None
    if not isinstance(content, dict) or content.get("version") != 1:
        raise InvalidArtifactError(f"{path.name} is not of version 1")
    return content


def verify_digest(path: Path, digest: str) -> None:
    """Raise an `InvalidArtifactError` where a file is not the one with a SHA-256 in hexadecimal."""
    if hashlib.sha256(read_untrusted_text(path).encode()).hexdigest() != digest:
        raise InvalidArtifactError(f"{path.name} is not the one that the judge told of")


def read_verdict(path: Path) -> dict[str, str]:
    """Read a verdict that a run of foreign code wrote.

    Parameters
    ----------
    path
        The file verdict.json.

    Returns
    -------
    dict[str, str]
        The words and digests of `VERDICT_PATTERNS`; a dummy has an empty digest.

    Raises
    ------
    InvalidArtifactError
        If the file cannot be read, or one of these does not look as it must.
    """
    content = read_untrusted_json(path)
    for side in MODEL_SIDES:
        block = content.get(side)
        model = block.get("model") if isinstance(block, dict) else None
        content[side] = "" if model is None else model
    for key, pattern in VERDICT_PATTERNS.items():
        value = content.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise InvalidArtifactError(f"{path.name}: {key} must look like {pattern}")
    verdict = {key: content[key] for key in VERDICT_PATTERNS}
    verdict["sentence"] = sanitize_line(verdict["sentence"])
    return verdict
