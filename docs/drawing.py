"""Draws docs/architecture.svg, which district may import which, from the contracts in pyproject.toml."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs/architecture.svg"
LAYERS = (
    ("core",),
    ("data", "statistics", "github"),
    ("pipeline",),
    ("gate", "tracking", "inference", "testing"),
    ("automation", "provenance", "serving"),
    ("report", "delivery", "workspace"),
    ("monitoring",),
)
STEP = 26
LEFT = 6
TOP = 30
BOX = 92
EDGE = 16  # from the box's left side to its column
STYLE = """
  text { font: 12px system-ui, sans-serif; text-anchor: middle; fill: #1c2340 }
  .word { font-size: 11px; text-anchor: start; fill: #6b7390 }
  rect { fill: #eef1fc; stroke: #5468c4; rx: 7 }
  .line { stroke: #7b84a8; stroke-width: 0.8; opacity: 0.35 }
  circle { fill: #b57a1d }
  @media (prefers-color-scheme: dark) { .word { fill: #a4acc8 } .line { stroke: #98a1c4 } circle { fill: #e0a94e } }
"""


def allowed_imports() -> dict[str, set[str]]:
    """The districts that each district may import, by import-linter's contracts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = [one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "forbidden"]
    forbidden = {one["source_modules"][0]: set(one["forbidden_modules"]) for one in contracts}
    return {
        source.removeprefix("modelyard."): {
            name.removeprefix("modelyard.") for name in forbidden if name != source and name not in forbidden[source]
        }
        for source in forbidden
    }


def draw() -> str:
    """The drawing: a box for each district on the diagonal, in its row a dot for each district that it may import."""
    allowed = allowed_imports()
    order = [name for layer in LAYERS for name in layer]
    assert set(order) == set(allowed), "docs/drawing.py does not know every district"
    column = {name: LEFT + EDGE + place * (STEP + 12) for place, name in enumerate(order)}
    width = column[order[-1]] - EDGE + BOX + LEFT
    height = TOP + len(order) * STEP + 4
    parts = []
    for place, name in enumerate(order):
        y = TOP + place * STEP + STEP // 2
        if allowed[name]:
            first = min(column[one] for one in allowed[name])
            parts.append(f'<path class="line" d="M{first} {y}H{column[name]}"/>')
        parts.append(f'<path class="line" d="M{column[name]} {y}V{height - 4}"/>')
    for place, name in enumerate(order):
        y = TOP + place * STEP + STEP // 2
        assert all(order.index(one) < place for one in allowed[name]), f"{name} stands before a district it imports"
        parts += [f'<circle cx="{column[one]}" cy="{y}" r="4.5"/>' for one in sorted(allowed[name], key=order.index)]
        parts.append(f'<rect x="{column[name] - EDGE}" y="{y - 11}" width="{BOX}" height="22"/>')
        parts.append(f'<text x="{column[name] - EDGE + BOX // 2}" y="{y + 4}">{name}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">'
    title = "<title>The districts of the library, and which of them each may import</title>"
    note = f'<text class="word" x="{LEFT}" y="16">a dot: the district of this row may import that of this column</text>'
    return "\n".join([head, title, f"<style>{STYLE}</style>", note, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    DRAWING.write_text(draw(), encoding="utf-8")
