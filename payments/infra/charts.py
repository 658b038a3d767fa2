"""Charts: figures as SVG, beside a table that says the same.

A chart is a Vega-Lite specification, drawn on the server by `chart_renderer`. Its colours are CSS
variables of the stylesheet, so that it is readable in light and dark mode.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from payments.infra import chart_renderer

VEGA_LITE_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
SERIES_COLOURS = tuple(f"var(--c{number})" for number in range(1, 7))

VegaLiteSpec = dict[str, Any]  # any JSON object: the schema is Vega-Lite's own
DataPoint = Mapping[str, str | int | float]


def stacked_bars(points: Sequence[DataPoint], *, series: Sequence[str], unit: str) -> VegaLiteSpec:
    """Return bars of `value` by `month`, stacked by `place`, one colour for each of `series`."""
    return _build_spec(
        points,
        {"mark": {"type": "bar", "aria": False, "cornerRadius": 0}},
        {
            "x": _month_axis(points),
            "y": _value_axis(unit),
            "color": _series_colour(series),
            "order": {"field": "place", "type": "quantitative"},
        },
    )


def line_chart(
    points: Sequence[DataPoint], *, series: Sequence[str], unit: str, months: Sequence[str]
) -> VegaLiteSpec:
    """Return lines of `value` by `month`, one for each of `series`, dashed after the first.

    `months` are all months of the axis, in order.
    """
    return _build_spec(
        points,
        {"mark": {"type": "line", "aria": False, "strokeWidth": 2.5, "point": {"size": 30}}},
        {
            "x": {
                "field": "month",
                "type": "ordinal",
                "sort": list(months),
                "scale": {"domain": list(months)},
                "axis": {"title": None, "labelAngle": 0},
            },
            "y": _value_axis(unit),
            "color": _series_colour(series),
            "strokeDash": {
                "field": "series",
                "sort": list(series),
                "scale": {"domain": list(series), "range": [[1, 0], [6, 4]]},
            },
        },
    )


def waterfall_chart(points: Sequence[DataPoint], *, unit: str) -> VegaLiteSpec:
    """Return bars from `low` to `high`, in the order given, coloured by `series`.

    A series is total, more or less. `amount_text` stands above each bar, at `text_at`.
    """
    kinds = ["total", "more", "less"]
    steps = {
        "x": {
            "field": "label",
            "type": "ordinal",
            "sort": [point["label"] for point in points],
            "axis": {"title": None, "labelAngle": -40, "labelLimit": 200},
        },
        "y": {**_value_axis(unit), "field": "low"},
        "y2": {"field": "high"},
        "color": {
            "field": "series",
            "sort": kinds,
            "scale": {"domain": kinds, "range": ["var(--edge)", SERIES_COLOURS[0], "var(--loss)"]},
            "legend": None,
        },
    }
    texts = {
        "x": {"field": "label", "type": "ordinal", "sort": steps["x"]["sort"]},
        "y": {"field": "text_at", "type": "quantitative"},
        "text": {"field": "amount_text", "type": "nominal"},
        "color": {"value": "var(--ink)"},
    }
    layers = [
        {"mark": {"type": "bar", "aria": False, "size": 26}, "encoding": steps},
        {"mark": {"type": "text", "aria": False, "dy": -8, "fontSize": 12}, "encoding": texts},
    ]
    return _build_spec(points, {"layer": layers}, {}, height=280)


def _build_spec(
    points: Sequence[DataPoint], mark: VegaLiteSpec, encoding: VegaLiteSpec, *, height: int = 220
) -> VegaLiteSpec:
    return {
        "$schema": VEGA_LITE_SCHEMA,
        "width": 860,
        "height": height,
        "background": None,
        "padding": 4,
        "data": {"values": list(points)},
        **mark,
        "encoding": encoding,
        "config": {
            "font": "system-ui, sans-serif",
            "view": {"stroke": None},
            "axis": {
                "aria": False,
                "labelFontSize": 13,
                "titleFontSize": 13,
                "titleFontWeight": "normal",
                "labelColor": "var(--quiet)",
                "titleColor": "var(--quiet)",
                "gridColor": "var(--line)",
                "domainColor": "var(--edge)",
                "tickColor": "var(--edge)",
            },
            "legend": {
                "aria": False,
                "orient": "top",
                "title": None,
                "labelFontSize": 14,
                "labelColor": "var(--ink)",
                "symbolType": "square",
            },
        },
    }


def _month_axis(points: Sequence[DataPoint]) -> VegaLiteSpec:
    """Return an axis with every month; every third is labelled when there are more than twelve."""
    months = list(dict.fromkeys(point["month"] for point in points))
    labelled = months[:: 3 if len(months) > 12 else 1]
    return {
        "field": "month",
        "type": "ordinal",
        "sort": months,
        "axis": {"title": None, "labelAngle": 0, "values": labelled, "labelOverlap": False},
    }


def _value_axis(unit: str) -> VegaLiteSpec:
    axis = {"title": unit, "format": ",~f", "tickCount": 5, "domain": False, "ticks": False}
    return {"field": "value", "type": "quantitative", "axis": axis, "scale": {"zero": True}}


def _series_colour(series: Sequence[str]) -> VegaLiteSpec:
    """Return a colour for each series, with a legend if there are several."""
    assert len(series) <= len(SERIES_COLOURS)
    scale = {"domain": list(series), "range": list(SERIES_COLOURS[: len(series)])}
    legend = {"legend": None} if len(series) == 1 else {}
    return {"field": "series", "sort": list(series), "scale": scale, **legend}


async def render_svg(spec: VegaLiteSpec, *, title: str, description: str) -> str | None:
    """Return a chart as SVG for the body of a page, or None where it could not be drawn.

    `description` is one sentence that says what the chart shows to those who do not see it.
    """
    svg = await chart_renderer.render(json.dumps(spec, sort_keys=True, ensure_ascii=True))
    if svg is None:
        return None
    svg_id = "chart-" + hashlib.sha256((title + description + svg).encode()).hexdigest()[:12]
    opening = f'<svg role="img" aria-labelledby="{svg_id}-t {svg_id}-d" class="chart"'
    texts = (
        f'<title id="{svg_id}-t">{escape(title)}</title>'
        f'<desc id="{svg_id}-d">{escape(description)}</desc>'
    )
    view_box, _, marks = svg.partition("viewBox=")[2].partition(">")
    return f'{opening} viewBox={view_box} xmlns="http://www.w3.org/2000/svg">{texts}{marks}'
