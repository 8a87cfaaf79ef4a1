"""Charts of the result files as SVG files of their own, for README.md and docs/results.md."""

from __future__ import annotations

from collections.abc import Sequence

from empg_gym.study.chart import HEIGHT, WIDTH, Series, line_chart

COLOURS = ("#1f6feb", "#d97706", "#6b7280")
"""One per line; no picture has more lines."""
_LEGEND_ROW = 16


def picture(title: str, series: Sequence[Series], *, percent: bool, legend_below: int = 190) -> str:
    """Return a chart as the text of an SVG file.

    Args:
        title: of the chart, for those who can't see it.
        series: the lines, in the order of the legend, from below; a line whose lowest and highest values differ gets a band.
        percent: whether the values are shares.
        legend_below: height of the legend's lowest row, in pixels from above.
    """
    style = "".join(f".c{place}{{stroke:{colour}}}.b{place}{{fill:{colour}}}" for place, colour in enumerate(COLOURS))
    rows = [(legend_below - _LEGEND_ROW * line.place, COLOURS[line.place], line.name) for line in series]
    legend = "".join(f'<text x="540" y="{y}" text-anchor="end" style="fill:{colour}">{name}</text>' for y, colour, name in rows)
    start = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
    inside = (
        "<style>text{font:12px sans-serif;fill:#555}.grid{stroke:#ddd}.curve{fill:none;stroke-width:2}.band{opacity:.15}"
        f'{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    )
    head, mark, rest = str(line_chart(title, series, percent=percent)).partition(">")
    return head.replace("<svg ", start, 1) + mark + inside + rest.replace("</svg>", legend + "</svg>") + "\n"
