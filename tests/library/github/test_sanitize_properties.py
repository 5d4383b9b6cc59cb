"""Whatever a report is made of, what is posted mentions nobody, loads nothing and links no issue."""

import html
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.github.sanitize import sanitize_markdown

PIECES = [
    "@",
    "#",
    "!",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "/",
    "&",
    ";",
    "\x00",
    "\u202e",
    "b",
    "img",
    "details",
    "script",
    "!--",
    "octocat",
    "12",
    "&#64;",
    "&commat;",
    "&num;",
    "![",
    "#12",
    "GH-1",
    "fixes https://x/1",
    "<script>",
    "<!-- x -->",
    "<img src=x.png>",
    "x.png",
]
REPORTS = st.lists(st.sampled_from([*PIECES, " ", "\n"]) | st.text(max_size=2), max_size=12).map("".join)
TAG = re.compile(r"<[A-Za-z/!?][^>]*>?")
HARMLESS_TAG = re.compile(r"</?(b|i|p|br|details|em|h[1-6r]|li|ol|t[dhr]|ul)\s*/?>")


@settings(max_examples=300, deadline=None, derandomize=True)
@given(REPORTS)
def test_no_report_holds_a_mention_an_image_an_issue_or_foreign_html(report: str) -> None:
    posted = sanitize_markdown(report)
    shown = html.unescape(posted)
    assert not re.search(r"@[\w{]", shown)
    assert not re.search(r"(?<!\w)#\d{1,9}\b", shown.replace("&#", ""))
    assert not re.search(r"\bGH-\d", shown)
    assert not re.search(r"(?i)\bfixes\s+https?:", shown)
    assert not re.search(r"[\x00\u202e]", posted)
    assert "![" not in posted
    assert all(HARMLESS_TAG.fullmatch(tag) for tag in TAG.findall(posted))
