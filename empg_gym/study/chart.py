"""Curves as SVG, without a script: lines take their colours from the page's style, so that they fit its light and dark form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 560, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 10, 30
_COLOURS = 6
_BANDS = 4
"""Most methods for which the range over seeds is drawn."""
_DASHES = ("", "7 4", "2 3")
"""Line styles tell apart more methods than there are colours, also where colours can't be seen."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line."""

    name: str
    points: Sequence[Sequence[float]]
    """[x, y, low, high]"""
    place: int
    """Of the method among all, which decides colour and dashes."""


def line_style(place: int) -> Markup:
    """Return the attributes of the line of a method."""
    return Markup('class="curve c{}" stroke-dasharray="{}"').format(place % _COLOURS, _DASHES[place // _COLOURS % len(_DASHES)])


def line_chart(title: str, series: Sequence[Series], *, percent: bool) -> Markup:
    """Return a chart; values are shares if `percent`."""
    xs = [point[0] for line in series for point in line.points]
    ys = [value for line in series for point in line.points for value in point[1:]]
    low, high = (0.0, 1.0) if percent else (min(0.0, *ys), max(ys) or 1.0)
    span, reach = (high - low) or 1.0, (max(xs) - min(xs)) or 1.0

    def x(value: float) -> float:
        return round(_LEFT + (value - min(xs)) / reach * (WIDTH - _LEFT - _RIGHT), 1)

    def y(value: float) -> float:
        return round(_TOP + (high - value) / span * (HEIGHT - _TOP - _BOTTOM), 1)

    parts = []
    for value in (low + span * part / 4 for part in range(5)):
        parts.append(_line("grid", _LEFT, WIDTH - _RIGHT, y(value), y(value)))
        parts.append(_text(_LEFT - 6, y(value) + 4, _number(value, percent=percent), anchor="end"))
    parts += [
        _text(x(value), HEIGHT - 8, f"{value:.0f}")
        for value in sorted({min(xs), *([round(min(xs) + reach / 2)] if len(set(xs)) > 2 else []), max(xs)})
    ]
    for line in series if len(series) <= _BANDS else ():
        if len(line.points) > 1:
            upper = [(x(step), y(top)) for step, _, _, top in line.points]
            lower = [(x(step), y(bottom)) for step, _, bottom, _ in reversed(line.points)]
            parts.append(Markup('<polygon class="band b{}" points="{}"/>').format(line.place % _COLOURS, _path(upper + lower)))
    for line in series:
        centre = [(x(point[0]), y(point[1])) for point in line.points]
        if len(centre) == 1:
            parts.append(Markup('<circle {} cx="{}" cy="{}" r="3"/>').format(line_style(line.place), *centre[0]))
        else:
            parts.append(
                Markup('<polyline {} points="{}"><title>{}</title></polyline>').format(line_style(line.place), _path(centre), line.name)
            )
    label = escape(f"{title}, by training step: {', '.join(line.name for line in series)}")
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(WIDTH, HEIGHT, label, Markup("").join(parts))


def dot_chart(rows: Sequence[tuple[str, int, float, tuple[float, float] | None, Sequence[float]]]) -> Markup:
    """Return paired differences, one row per method: (name, place, mean, interval, values of the seeds); shares, drawn in points."""
    values = [value for _, _, mean, bounds, seeds in rows for value in (mean, *(bounds or ()), *seeds)]
    reach = max(0.02, *map(abs, values)) * 1.08
    height = 30 * len(rows) + 34

    def x(value: float) -> float:
        return float(round(170 + (value + reach) / (2 * reach) * (WIDTH - 170 - _RIGHT), 1))

    parts = [_line("axis", x(0), x(0), 6, height - 26)]
    parts += [_text(x(value), height - 8, f"{100 * value:+.1f}") for value in (-reach / 1.08, 0.0, reach / 1.08)]
    for number, (name, place, mean, bounds, seeds) in enumerate(rows):
        y, colour = 22 + 30 * number, f"c{place % _COLOURS}"
        parts.append(_text(160, y + 4, name, anchor="end", kind="row-name"))
        if bounds is not None:
            parts.append(_line(f"curve {colour}", x(bounds[0]), x(bounds[1]), y, y))
        parts += [Markup('<circle class="dot {}" cx="{}" cy="{}" r="2.5"/>').format(colour, x(value), y) for value in seeds]
        parts.append(_line(f"curve {colour}", x(mean), x(mean), y - 8, y + 8))
    label = "Paired differences to the reference, in points"
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(WIDTH, height, label, Markup("").join(parts))


def _line(kind: str, x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(kind, x1, x2, y1, y2)


def _text(x: float, y: float, text: str, *, anchor: str = "middle", kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _number(value: float, *, percent: bool) -> str:
    return f"{100 * value:.0f} %" if percent else f"{value:.3g}"
