"""Small inline charts for HTML reports: no image host, no script, light and dark by the page's own colours."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, PAD = 420, 280, 46
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #656d76; --rule: #d0d7de; --page: #fff;
  --a: #0969da; --b: #bc4c00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --soft: #9198a1; --rule: #3d444d; --page: #0d1117; --a: #4493f8; --b: #f0883e; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0; display: block; overflow-x: auto;
  font-variant-numeric: tabular-nums; }
th, td { border: 1px solid var(--rule); padding: .25rem .6rem; text-align: left; } th { font-weight: 600; }
svg { max-width: 100%; height: auto; margin: .5rem; } svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .title { font-weight: 600; fill: var(--ink); } .axis { stroke: var(--rule); fill: none; }
.a { stroke: var(--a); fill: none; stroke-width: 2; }
.b { stroke: var(--b); fill: none; stroke-width: 2; stroke-dasharray: 6 3; }
.dot { fill: var(--a); stroke: none; opacity: .55; } .thin { stroke: var(--soft); stroke-dasharray: 2 4; fill: none; }
.charts { display: flex; flex-wrap: wrap; align-items: flex-start; } code { font-size: 90%; }
details { margin: .5rem 0; } summary { cursor: pointer; }
.muted { color: var(--soft); }
"""
Points = Sequence[tuple[float, float]]
Span = tuple[float, float]


def page(title: str, body: str) -> str:
    """A self-contained HTML page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>{body}</body></html>\n"
    )


def span(values: Sequence[float]) -> Span:
    """The least and greatest value, a little apart where they are equal."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def place(value: float, within: Span, size: float) -> float:
    """Where a value lies between two borders, in pixels."""
    return size * (value - within[0]) / (within[1] - within[0])


def frame(title: str, x: str, y: str, xs: Span, ys: Span, inside: str) -> str:
    """Axes with their names and borders around the marks of a chart."""
    right, bottom = WIDTH - 12, HEIGHT - PAD
    corners = (
        f'<text x="{PAD}" y="{bottom + 16}">{xs[0]:.3g}</text>'
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{xs[1]:.3g}</text>'
        f'<text x="{PAD - 6}" y="{bottom}" text-anchor="end">{ys[0]:.3g}</text>'
        f'<text x="{PAD - 6}" y="38" text-anchor="end">{ys[1]:.3g}</text>'
    )
    names = (
        f'<text class="title" x="{PAD}" y="16">{escape(title)}</text>'
        f'<text x="{(PAD + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>'
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">{escape(y)}</text>'
    )
    axis = f'<path class="axis" d="M{PAD} 30V{bottom}H{right}"/>'
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{escape(title)}">'
        f"{names}{axis}{corners}{inside}</svg>"
    )


def chart(
    title: str,
    x: str,
    y: str,
    series: dict[str, Points],
    *,
    dots: bool = False,
    diagonal: bool = False,
    zero: bool = False,
) -> str:
    """Lines (or dots) on common axes; the second series is dashed, so that colour is never the only sign."""
    every = [point for points in series.values() for point in points]
    xs, ys = span([p[0] for p in every]), span([p[1] for p in every] + [0.0] * zero)

    def at(point: tuple[float, float]) -> tuple[float, float]:
        left, top = PAD + place(point[0], xs, WIDTH - 12 - PAD), HEIGHT - PAD - place(point[1], ys, HEIGHT - PAD - 30)
        return round(left, 1), round(top, 1)

    def path(points: Points, kind: str) -> str:
        return f'<path class="{kind}" d="M{" L".join(f"{a} {b}" for a, b in map(at, points))}"/>'

    marks = ""
    for kind, (name, points) in zip("ab", series.items(), strict=False):
        if dots:
            marks += "".join(f'<circle class="dot" cx="{a}" cy="{b}" r="2"/>' for a, b in map(at, points))
        elif points:
            left, top = at(points[-1])
            marks += path(points, kind)
            if len(series) > 1:
                marks += f'<text x="{left - 4}" y="{top - 6}" text-anchor="end">{escape(name)}</text>'
    if diagonal:
        low, high = max(xs[0], ys[0]), min(xs[1], ys[1])
        marks += path([(low, low), (high, high)], "thin")
    if zero and ys[0] < 0 < ys[1]:
        marks += path([(xs[0], 0.0), (xs[1], 0.0)], "thin")
    return frame(title, x, y, xs, ys, marks)


def bars(title: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """One line for each row (label, value, low, high): a dot with its interval, and a mark at zero."""
    within = span([v for _, *values in rows for v in values] + [0.0])
    height, left, right = 22, 130, WIDTH - 12
    marks = f'<text class="title" x="8" y="16">{escape(title)}</text>'
    zero = left + place(0.0, within, right - left)
    marks += f'<path class="thin" d="M{zero:.1f} 26V{30 + height * len(rows)}"/>'
    for i, (label, value, low, high) in enumerate(rows):
        y = 38 + height * i
        a, b, c = (left + place(v, within, right - left) for v in (low, value, high))
        marks += f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(label[:20])}</text>'
        marks += f'<path class="a" d="M{a:.1f} {y}H{c:.1f}"/><circle class="dot" cx="{b:.1f}" cy="{y}" r="4"/>'
    total = 48 + height * len(rows)
    marks += f'<text x="{left}" y="{total - 4}">{within[0]:.3g}</text>'
    marks += f'<text x="{right}" y="{total - 4}" text-anchor="end">{within[1]:.3g}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {total}" width="{WIDTH}" role="img" aria-label="{escape(title)}">{marks}</svg>'
