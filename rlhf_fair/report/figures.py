"""Plots drawn from display data with Plotly; nothing is computed here but room on the page.

Colours are CSS variables, which the page's script replaces by the values of the light or the dark scheme. Text that
came from outside is escaped, because Plotly reads a small part of HTML in labels.
"""

from __future__ import annotations

import html
import math
from typing import Any

from rlhf_fair.report.display import Plot, Series

INK, MUTED, GRID, PAPER = "var(--ink)", "var(--muted)", "var(--grid)", "var(--paper)"
ROW_PX, FOREST_MARGIN_PX, CURVE_PX, STAGES_PX, SCATTER_PX = 36, 60, 250, 300, 340
MARK_PX, BLOCK_PX = 9, 13
POINTED = ("triangle-up", "triangle-down", "star", "diamond", "diamond-open")
"""Shapes that look smaller than a circle of their width."""


def figure(plot: Plot) -> dict[str, Any]:
    """The plot as Plotly's ``data`` and ``layout``, ready for JSON."""
    import plotly.graph_objects as go

    flat = plot.kind == "forest"
    traces = _lines(plot, flat)
    for series in plot.series:  # under all lines
        traces += _band(series) if series.banded else []
        traces += _blocks(series, flat) if series.blocks else []
    for series in plot.series:
        if series.blocks:
            continue
        if not series.banded and (bars := _bars(series, flat)):
            traces.append(bars)
        traces.append(_marks(series, flat))
    drawn = go.Figure(data=traces, layout=_layout(plot))
    content: dict[str, Any] = drawn.to_plotly_json()
    return {"data": list(content["data"]), "layout": content["layout"]}


def label(text: str) -> str:
    """Outside text for a Plotly label: entities instead of tags and of TeX's dollar signs, line breaks kept."""
    return html.escape(text, quote=False).replace("$", "&#36;").replace("\n", "<br>")


def _bars(series: Series, flat: bool) -> Any:
    """The intervals: one segment for each point that has one, with a gap (None) between."""
    import plotly.graph_objects as go

    values: list[float | None] = []
    places: list[float | None] = []
    for point in series.points:
        if point.low is not None and point.high is not None:
            values += [point.low, point.high, None]
            places += [point.at, point.at, None]
        if point.at_low is not None and point.at_high is not None:
            values += [point.value, point.value, None]
            places += [point.at_low, point.at_high, None]
    if not values:
        return None
    return go.Scatter(
        x=values if flat else places,
        y=places if flat else values,
        mode="lines",
        name=f"{series.name} interval",
        line={"color": series.colour, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )


def _band(series: Series) -> list[Any]:
    """The intervals along a line: the lower ends, and the upper ends with all between filled."""
    import plotly.graph_objects as go

    known = [point for point in series.points if point.low is not None and point.high is not None]
    common: dict[str, Any] = {
        "x": [point.at for point in known],
        "mode": "lines",
        "line": {"color": series.colour, "width": 0},  # the fill is half of this colour
        "hoverinfo": "skip",
        "showlegend": False,
    }
    if not known:
        return []
    return [
        go.Scatter(y=[point.low for point in known], name=f"{series.name} low", **common),
        go.Scatter(y=[point.high for point in known], name=f"{series.name} high", fill="tonexty", **common),
    ]


def _blocks(series: Series, flat: bool) -> list[Any]:
    """A pale block from ``low`` to ``high`` of each point: a thick line, half seen through."""
    import plotly.graph_objects as go

    values = [end for point in series.points for end in (point.low, point.high, None)]
    places = [at for point in series.points for at in (point.at, point.at, None)]
    drawn = go.Scatter(
        x=values if flat else places,
        y=places if flat else values,
        mode="lines",
        name=label(series.name),
        line={"color": series.colour, "width": BLOCK_PX},
        opacity=0.3,
        hoverinfo="skip",
        showlegend=False,
    )
    return [drawn] if series.points else []


def _marks(series: Series, flat: bool) -> Any:
    import plotly.graph_objects as go

    values, places = [p.value for p in series.points], [p.at for p in series.points]
    mode = "lines" if not series.marked else "lines+markers" if series.joined else "markers"
    many = len(series.points) > 20
    return go.Scatter(
        x=values if flat else places,
        y=places if flat else values,
        mode=mode,
        name=label(series.name),
        line={"color": series.colour, "width": 1.5, "dash": "solid" if series.marked else "dot"},
        marker={
            "symbol": series.symbol,
            "size": MARK_PX - 3 if many else MARK_PX + (3 if series.symbol in POINTED else 0),
            "color": series.colour,
            "line": {"color": series.colour if series.symbol.endswith("-open") else PAPER, "width": _outline(series)},
            "maxdisplayed": 12 if many else 0,
        },
        hoverinfo="text" if series.marked else "skip",
        hovertext=[label(point.hover) for point in series.points],
        showlegend=False,
    )


def _outline(series: Series) -> float:
    """Filled marks get a thin rim in the colour of the page, so that neighbours stay apart."""
    return 2.0 if series.symbol.endswith("-open") else 0.0 if len(series.points) > 20 else 1.0


def _layout(plot: Plot) -> dict[str, Any]:
    flat = plot.kind == "forest"
    value_axis: dict[str, Any] = {
        "gridcolor": GRID,
        "zeroline": plot.parity == 0 and not plot.log,
        "zerolinecolor": INK,
        "zerolinewidth": 1,
        "showline": False,
        "fixedrange": True,
        "automargin": True,
        "nticks": 6,
        "tickangle": 0,
        "tickfont": {"size": 12, "color": MUTED},
    }
    # A forest's long axis title stands below it as text of the page, where it can wrap.
    if plot.value_title and not flat:
        value_axis["title"] = {"text": label(plot.value_title), "font": {"size": 12, "color": MUTED}, "standoff": 8}
    if plot.log:
        value_axis |= {"type": "log", "tickmode": "array", "tickvals": list(plot.value_ticks)}
        value_axis["ticktext"] = [f"{tick:g}" for tick in plot.value_ticks]
    if plot.value_range:  # Plotly wants the ends of a log axis as powers of ten
        value_axis["range"] = [math.log10(end) for end in plot.value_range] if plot.log else list(plot.value_range)
    at_axis: dict[str, Any] = {
        "showgrid": False,
        "zeroline": False,
        "showline": False,
        "fixedrange": True,
        "automargin": True,
        "tickfont": {"size": 12, "color": INK if plot.ticks else MUTED},
    }
    if plot.ticks:
        at_axis |= {
            "tickmode": "array",
            "tickvals": [at for at, _ in plot.ticks],
            "ticktext": [label(text) for _, text in plot.ticks],
            "range": [len(plot.ticks) - 0.4, -0.6] if flat else [-0.5, len(plot.ticks) - 0.5],
            "tickangle": 0,
        }
    if plot.at_title:
        at_axis["title"] = {"text": label(plot.at_title), "font": {"size": 12, "color": MUTED}, "standoff": 8}
    if plot.at_range:
        at_axis |= {"range": list(plot.at_range), "showgrid": True, "gridcolor": GRID, "nticks": 6}
    curve = SCATTER_PX if plot.kind == "scatter" else CURVE_PX
    return {
        "template": "none",
        "height": FOREST_MARGIN_PX + ROW_PX * len(plot.ticks) if flat else curve if plot.at_title else STAGES_PX,
        "margin": {"l": 8, "r": 16, "t": 12, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "color": INK, "size": 12},
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK, "size": 12}},
        "hovermode": "closest",
        "dragmode": False,
        "xaxis": value_axis if flat else at_axis,
        "yaxis": at_axis if flat else value_axis,
    }


def _lines(plot: Plot, flat: bool) -> list[Any]:
    """Thresholds as dashed lines, and parity as a solid one where it is not 0, which the axis draws itself."""
    import plotly.graph_objects as go

    lines = [("threshold", value, "dash", MUTED) for value in plot.thresholds]
    lines += [("parity", plot.parity, "solid", INK)] if plot.parity else []
    across = list(plot.at_range) if plot.at_range and not plot.ticks else [-0.6, len(plot.ticks) - 0.4]
    return [
        go.Scatter(
            x=[value, value] if flat else across,
            y=across if flat else [value, value],
            mode="lines",
            name=name,
            line={"color": colour, "width": 1.5, "dash": dash},
            hoverinfo="skip",
            showlegend=False,
        )
        for name, value, dash, colour in lines
    ]
