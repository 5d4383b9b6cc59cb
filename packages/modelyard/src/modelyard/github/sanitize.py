"""What a branch's run left behind, taken as data: its verdict is checked, its report can do no harm in a comment."""

import json
import re
from pathlib import Path
from typing import Any

LIMIT = 65_536  # characters, of one comment or issue on GitHub
LARGEST = 2_000_000  # bytes, of a file that is read at all
CUT = "\n\n*The report was cut here; the whole of it is in the run's summary and artifact.*\n"
MODELS = ("champion", "candidate")
PATTERNS = {
    "verdict": "unchanged|better|not worse|worse|inconclusive",
    "decision": "pass|warn|block",
    "unattended": "open|keep|issue|nothing",
    "sentence": r"(?s).*\S.*",
    **dict.fromkeys(MODELS, "([0-9a-f]{64})?"),
}
ALLOWED = (
    "b|blockquote|br|code|details|em|h[1-6]|hr|i|kbd|li|ol|p|pre|strong|sub|summary|sup|table|tbody|td|th|thead|tr|ul"
)
HIDDEN = "\u200b"  # takes no room, and parts what GitHub would read as one
RULES = [
    (r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", ""),  # control and reordering characters
    (r"&(?=#|commat|num)", "&amp;"),  # a mention in disguise
    (rf"<(?!/?(?:{ALLOWED})(?: open| align=\"\w+\")?\s*/?>)(?=[A-Za-z/!?])", "&lt;"),  # other tags, comments
    (r"!(?=\[)", f"!{HIDDEN}"),  # an image becomes a link: nothing is loaded
    (r"@(?=[\w{])", f"@{HIDDEN}"),  # a mention
    (r"(?<!\w)#(?=\d{1,9}\b)", f"#{HIDDEN}"),  # a link to another issue
    (r"\b(GH)-(?=\d)", rf"\1{HIDDEN}-"),
    (r"(?i)\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?)(?=:?\s+(?:#|https?:|[\w.-]+/[\w.-]+#))", rf"\1{HIDDEN}"),
]


class Unfit(Exception):
    """A file from a run is not what it must be."""


def neutral(markdown: str) -> str:
    """Markdown that mentions nobody, loads nothing, hides nothing and closes no issue."""
    for pattern, instead in RULES:
        markdown = re.sub(pattern, instead, markdown)
    return markdown


def cut(markdown: str, limit: int = LIMIT) -> str:
    """Markdown within the limit: whole lines, with open code blocks and folds closed, and a note where it ends."""
    if len(markdown) <= limit:
        return markdown
    room = limit - len(CUT) - 200
    kept = markdown[:room].rpartition("\n")[0]
    if len(re.findall(r"(?m)^```", kept)) % 2:
        kept += "\n```"
    folds = kept.count("<details") - kept.count("</details>")
    return kept + "\n</details>" * min(max(folds, 0), 10) + CUT


def read(path: Path) -> str:
    """A file's text; missing, too large or not text is `Unfit`."""
    try:
        if path.is_symlink() or path.stat().st_size > LARGEST:
            raise Unfit(f"{path.name} is no plain file below {LARGEST:,} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Unfit(f"there is no {path.name}") from None
    except UnicodeDecodeError:
        raise Unfit(f"{path.name} is not text") from None


def line(value: Any, limit: int = 300) -> str:
    """A value as one line that can do no harm."""
    return neutral(" ".join(str(value).split()))[:limit]


def read_verdict(path: Path) -> dict[str, str]:
    """The words and digests of verdict.json, each checked; anything else in it is left alone."""
    try:
        raw = json.loads(read(path))
    except ValueError:
        raise Unfit(f"{path.name} is not JSON") from None
    if not isinstance(raw, dict) or raw.get("version") != 1:
        raise Unfit(f"{path.name} is not of version 1")
    for side in MODELS:  # a dummy has none
        block = raw.get(side)
        raw[side] = block["model"] if isinstance(block, dict) and block.get("model") is not None else ""
    for key, pattern in PATTERNS.items():
        if not isinstance(raw.get(key), str) or not re.fullmatch(pattern, raw[key]):
            raise Unfit(f"{path.name}: {key} must look like {pattern}")
    return {key: raw[key] for key in PATTERNS} | {"sentence": line(raw["sentence"])}
