"""Charts: figures drawn on the server as SVG, for the eye beside a table that says the same.

Vega-Lite draws them, in one process of its own: it holds Python's lock while it draws. That process
reads a chart on a line and answers with a drawing on a line, and ends when its input does, so it
never outlives the service. A drawing is kept by what is in it. Colours are the stylesheet's, so a
chart is right on light and dark paper. Without a drawing a page still has its table.
"""

import asyncio
import atexit
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from typing import Any

CACHE_SIZE = 200  # drawings
RENDER_TIMEOUT = 10.0  # seconds for one, the first included
VEGA_LITE_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
SERIES_COLOURS = tuple(f"var(--c{number})" for number in range(1, 7))

VegaLiteSpec = dict[str, Any]  # Vega-Lite's own JSON
DataPoint = Mapping[str, str | int | float]


# --- what is drawn --------------------------------------------------------------------------------


def stacked_bars(points: Sequence[DataPoint], *, series: Sequence[str], unit: str) -> VegaLiteSpec:
    """Bars of `value` by `month`, one colour for each of `series`, above and below nought."""
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
    """Lines of `value` by `month`, one for each of `series`, dashed after the first."""
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
    """Steps from `low` to `high`, in the order given, coloured by `series`, `said` above each."""
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
    said = {
        "x": {"field": "label", "type": "ordinal", "sort": steps["x"]["sort"]},
        "y": {"field": "top", "type": "quantitative"},
        "text": {"field": "said", "type": "nominal"},
        "color": {"value": "var(--ink)"},
    }
    layers = [
        {"mark": {"type": "bar", "aria": False, "size": 26}, "encoding": steps},
        {"mark": {"type": "text", "aria": False, "dy": -8, "fontSize": 12}, "encoding": said},
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
    """Every month has a bar; each third is named when there are many."""
    months = list(dict.fromkeys(point["month"] for point in points))
    named = months[:: 3 if len(months) > 12 else 1]
    return {
        "field": "month",
        "type": "ordinal",
        "sort": months,
        "axis": {"title": None, "labelAngle": 0, "values": named, "labelOverlap": False},
    }


def _value_axis(unit: str) -> VegaLiteSpec:
    axis = {"title": unit, "format": ",~f", "tickCount": 5, "domain": False, "ticks": False}
    return {"field": "value", "type": "quantitative", "axis": axis, "scale": {"zero": True}}


def _series_colour(series: Sequence[str]) -> VegaLiteSpec:
    """A colour for each; one alone needs no legend."""
    assert len(series) <= len(SERIES_COLOURS)
    scale = {"domain": list(series), "range": list(SERIES_COLOURS[: len(series)])}
    alone = {"legend": None} if len(series) == 1 else {}
    return {"field": "series", "sort": list(series), "scale": scale, **alone}


# --- drawing --------------------------------------------------------------------------------------


async def render_svg(spec: VegaLiteSpec, *, title: str, description: str) -> str | None:
    """The drawing as SVG for the middle of a page, or None when there is none today.

    `name` is its title, `says` one sentence that tells what it shows to those who do not see it.
    """
    drawn = await asyncio.to_thread(_render, json.dumps(spec, sort_keys=True, ensure_ascii=True))
    if drawn is None:
        return None
    id_ = "chart-" + hashlib.sha256((title + description + drawn).encode()).hexdigest()[:12]
    begins = f'<svg role="img" aria-labelledby="{id_}-t {id_}-d" class="chart"'
    told = f'<title id="{id_}-t">{escape(title)}</title><desc id="{id_}-d">{escape(description)}</desc>'
    _, _, rest = drawn.partition("viewBox=")
    box, _, marks = rest.partition(">")
    return f'{begins} viewBox={box} xmlns="http://www.w3.org/2000/svg">{told}{marks}'


class _Renderer:
    """The process that draws, started when it is first needed and again should it have died."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lock = threading.Lock()
        self.cache: dict[str, str] = {}

    def render(self, spec: str) -> str | None:
        with self.lock:
            if spec in self.cache:
                return self.cache[spec]
            drawn = self._request(spec)
            if drawn is not None:
                if len(self.cache) >= CACHE_SIZE:
                    self.cache.pop(next(iter(self.cache)))
                self.cache[spec] = drawn
            return drawn

    def _request(self, spec: str) -> str | None:
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(RENDER_TIMEOUT, process.kill)
        late.start()
        try:
            process.stdin.write(spec + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            late.cancel()
        return str(json.loads(answer)) if answer else None

    def close(self) -> None:
        """Close its input, which ends it."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                assert pipe is not None
                pipe.close()
            self.process.wait()
            self.process = None


@cache
def _shared_renderer() -> _Renderer:
    made = _Renderer()
    atexit.register(made.close)
    return made


def _render(spec: str) -> str | None:
    return _shared_renderer().render(spec)


def _serve_renders() -> None:
    """The other process: a chart on each line of input, a drawing on each line of output."""
    import vl_convert  # noqa: PLC0415 - large, and only this process needs it

    for line in sys.stdin:
        drawn = vl_convert.vegalite_to_svg(line, allowed_base_urls=[])
        sys.stdout.write(json.dumps(drawn) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve_renders()
