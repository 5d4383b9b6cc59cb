"""What a branch's run left behind, taken as data: its verdict is checked, its report can do no harm in a comment."""

import json
import re
from pathlib import Path
from typing import Any

MAX_BODY_CHARACTERS = 65_536  # characters, of one comment or issue on GitHub
MAX_FILE_BYTES = 2_000_000  # bytes, of a file that is read at all
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
ZERO_WIDTH_SPACE = "\u200b"  # takes no room, and parts what GitHub would read as one
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


class InvalidArtifactError(Exception):
    """A file from a run is not what it must be."""


def sanitize_markdown(markdown: str) -> str:
    """Markdown that mentions nobody, loads nothing, hides nothing and closes no issue."""
    for pattern, instead in SANITIZE_RULES:
        markdown = re.sub(pattern, instead, markdown)
    return markdown


def truncate_markdown(markdown: str, limit: int = MAX_BODY_CHARACTERS) -> str:
    """Markdown within the limit: whole lines, with open code blocks and folds closed, and a note where it ends."""
    if len(markdown) <= limit:
        return markdown
    room = limit - len(TRUNCATION_NOTE) - 200
    kept = markdown[:room].rpartition("\n")[0]
    if len(re.findall(r"(?m)^```", kept)) % 2:
        kept += "\n```"
    folds = kept.count("<details") - kept.count("</details>")
    return kept + "\n</details>" * min(max(folds, 0), 10) + TRUNCATION_NOTE


def read_untrusted_text(path: Path) -> str:
    """A file's text; missing, too large or not text is `Unfit`."""
    try:
        if path.is_symlink() or path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidArtifactError(f"{path.name} is no plain file below {MAX_FILE_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidArtifactError(f"there is no {path.name}") from None
    except UnicodeDecodeError:
        raise InvalidArtifactError(f"{path.name} is not text") from None


def sanitize_line(value: Any, limit: int = 300) -> str:
    """A value as one line that can do no harm."""
    return sanitize_markdown(" ".join(str(value).split()))[:limit]


def read_verdict(path: Path) -> dict[str, str]:
    """The words and digests of verdict.json, each checked; anything else in it is left alone."""
    try:
        raw = json.loads(read_untrusted_text(path))
    except ValueError:
        raise InvalidArtifactError(f"{path.name} is not JSON") from None
    if not isinstance(raw, dict) or raw.get("version") != 1:
        raise InvalidArtifactError(f"{path.name} is not of version 1")
    for side in MODEL_SIDES:  # a dummy has none
        block = raw.get(side)
        raw[side] = block["model"] if isinstance(block, dict) and block.get("model") is not None else ""
    for key, pattern in VERDICT_PATTERNS.items():
        if not isinstance(raw.get(key), str) or not re.fullmatch(pattern, raw[key]):
            raise InvalidArtifactError(f"{path.name}: {key} must look like {pattern}")
    return {key: raw[key] for key in VERDICT_PATTERNS} | {"sentence": sanitize_line(raw["sentence"])}
