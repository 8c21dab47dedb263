"""A change as pictures: intervals of all metrics, curves, confusions. Plain SVG without scripts, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from stellwerk.governance.change import figures
from stellwerk.governance.change.model import Change, Confusion, Line, Measured
from stellwerk.governance.change.safe import visible

STYLE = """\
svg { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; background: #fff }
text { fill: #1f2328 } .dim { fill: #59636e } .grid { stroke: #d1d9e0 } .zero { stroke: #59636e; stroke-dasharray: 3 3 }
.good { fill: #1a7f37; stroke: #1a7f37 } .bad { fill: #cf222e; stroke: #cf222e } .plain { fill: #59636e; stroke: #59636e }
.here { stroke: #0969da } .before { stroke: #9a6700; stroke-dasharray: 6 4 } .line { fill: none; stroke-width: 2 }
.cell { fill: #0969da } .thin { stroke-width: 1 } .end { text-anchor: end } .mid { text-anchor: middle }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117 } text { fill: #f0f6fc } .dim { fill: #9198a1 } .grid { stroke: #3d444d }
  .zero { stroke: #9198a1 } .good { fill: #3fb950; stroke: #3fb950 } .bad { fill: #f85149; stroke: #f85149 }
  .here { stroke: #4493f8 } .before { stroke: #d29922 } .cell { fill: #4493f8 } .plain { fill: #9198a1; stroke: #9198a1 }
}
"""
_TONE = {"better": "good", "worse": "bad", "not distinguishable": "plain", "": "plain"}
ROW, SIDE, SPAN = 34, 170, 360


def pictures(change: Change) -> dict[str, tuple[str, str]]:
    """Name of the file → (title, SVG), for everything there is to draw."""
    found: dict[str, tuple[str, str]] = {}
    drawn = [one for one in change.metrics if one.lower is not None and one.upper is not None]
    if drawn:
        found["differences.svg"] = ("Differences with 95 % intervals", _forest(drawn))
    if change.curves:
        found["roc.svg"] = ("ROC curves on the shared selection rows", _roc(change.curves))
    if change.confusions:
        found["confusion.svg"] = ("Confusion on the shared selection rows", _matrices(change.confusions))
    return found


def _svg(width: float, height: float, title: str, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
    head += f'height="{height:g}" role="img" aria-label={quoteattr(title)}>'
    return "\n".join([head, f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    said = " ".join(visible(text).split())
    said = said if len(said) <= 40 else said[:39] + "…"
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{escape(said)}</text>'


def _forest(metrics: Sequence[Measured]) -> str:
    """Each gain with its interval, on a scale of its own: units differ, the side of zero does not."""
    middle, half = SIDE + SPAN / 2, SPAN / 2
    height = 44 + ROW * len(metrics)
    body = [
        _text(middle - 8, 22, "worse", "dim end"),
        _text(middle + 8, 22, "better", "dim"),
        f'<line x1="{middle:g}" y1="30" x2="{middle:g}" y2="{height - 8:g}" class="zero"/>',
    ]
    for at, one in enumerate(metrics):
        low, high, gain = one.lower or 0.0, one.upper or 0.0, one.gain or 0.0
        reach = max(abs(low), abs(high), abs(gain)) or 1.0
        y = 52 + ROW * at
        left, right, place = (middle + half * 0.92 * value / reach for value in (low, high, gain))
        tone = _TONE[one.judgement]
        body += [
            _text(SIDE - 14, y + 4, one.title, "end"),
            f'<line x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}" class="{tone}" stroke-width="3"/>',
            *(
                f'<line x1="{x:.1f}" y1="{y - 5}" x2="{x:.1f}" y2="{y + 5}" class="{tone} thin"/>'
                for x in (left, right)
            ),
            f'<circle cx="{place:.1f}" cy="{y}" r="5" class="{tone}"/>',
            _text(SIDE + SPAN + 14, y + 4, f"{figures.difference(one)}  ({figures.interval(one)})", "dim"),
        ]
    return _svg(SIDE + SPAN + 230, height, "Differences with intervals", body)


def _roc(curves: Sequence[Line]) -> str:
    left, top, size = 56.0, 16.0, 320.0
    body = [f'<rect x="{left:g}" y="{top:g}" width="{size:g}" height="{size:g}" fill="none" class="grid"/>']
    for part in (0.25, 0.5, 0.75):
        x, y = left + size * part, top + size * part
        body.append(f'<line x1="{x:g}" y1="{top:g}" x2="{x:g}" y2="{top + size:g}" class="grid thin"/>')
        body.append(f'<line x1="{left:g}" y1="{y:g}" x2="{left + size:g}" y2="{y:g}" class="grid thin"/>')
    for part in (0.0, 0.5, 1.0):
        body.append(_text(left - 8, top + size * (1 - part) + 4, f"{part:g}", "dim end"))
        body.append(_text(left + size * part, top + size + 18, f"{part:g}", "dim mid"))
    body.append(f'<line x1="{left:g}" y1="{top + size:g}" x2="{left + size:g}" y2="{top:g}" class="zero"/>')
    for curve, kind in reversed(list(zip(curves, ("here", "before"), strict=False))):
        points = " ".join(
            f"{left + size * x:.1f},{top + size * (1 - y):.1f}" for x, y in zip(curve.x, curve.y, strict=True)
        )
        body.append(f'<polyline points="{points}" class="line {kind}"/>')
    body.append(_text(left + size / 2, top + size + 38, "false alarms", "dim mid"))
    body.append(
        f'<g transform="rotate(-90 16 {top + size / 2:g})">{_text(16, top + size / 2 + 4, "found", "dim mid")}</g>'
    )
    for at, (curve, kind) in enumerate(zip(curves, ("here", "before"), strict=False)):
        y = top + 24 + 24 * at
        body.append(f'<line x1="{left + size + 22:g}" y1="{y - 4:g}" x2="{left + size + 52:g}" y2="{y - 4:g}" '
                    f'class="line {kind}"/>')  # fmt: skip
        body.append(_text(left + size + 60, y, f"{curve.label}{'' if at else ' (here)'}"))
    return _svg(left + size + 240, top + size + 52, "ROC curves", body)


def _matrices(confusions: Sequence[Confusion]) -> str:
    classes = len(confusions[0].classes)
    cell = 64.0 if classes <= 4 else 46.0
    width = cell * classes + 130
    body: list[str] = []
    for at, one in enumerate(confusions):
        body += _matrix(one, at * width + 104, 58.0, cell, "here" if at == 0 else "before")
    return _svg(width * len(confusions) + 10, 58 + cell * classes + 44, "Confusion matrices", body)


def _matrix(one: Confusion, left: float, top: float, cell: float, side: str) -> list[str]:
    """Counts with the share of their row as depth of colour."""
    size = cell * len(one.classes)
    body = [_text(left, top - 32, one.label + (" (here)" if side == "here" else ""))]
    for row, counts in enumerate(one.counts):
        total = sum(counts) or 1
        body.append(_text(left - 10, top + cell * (row + 0.5) + 4, _short(one.classes[row]), "dim end"))
        body.append(_text(left + cell * (row + 0.5), top - 10, _short(one.classes[row]), "dim mid"))
        for column, count in enumerate(counts):
            x, y = left + cell * column, top + cell * row
            depth = 0.04 + 0.5 * count / total
            body.append(f'<rect x="{x + 1:g}" y="{y + 1:g}" width="{cell - 2:g}" height="{cell - 2:g}" rx="4" '
                        f'class="cell" fill-opacity="{depth:.2f}"/>')  # fmt: skip
            body.append(_text(x + cell / 2, y + cell / 2, f"{count:,}", "mid"))
            body.append(_text(x + cell / 2, y + cell / 2 + 16, f"{count / total:.0%}", "dim mid"))
    return [*body, _text(left + size / 2, top + size + 26, "rows: truth · columns: answer", "dim mid")]


def _short(text: str) -> str:
    return text if len(text) <= 11 else text[:10] + "…"
