"""The page: one file, no network, readable without scripts, and nothing runs in it but what its policy names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf_fair.report.bundle import Bundle, installed_bundle
from rlhf_fair.report.display import Page, Table
from rlhf_fair.report.embed import (
    FIGURES_ID,
    PLOTLY_ID,
    RESULTS_ID,
    ROWS_SUFFIX,
    content_security_policy,
    embedded,
    packed,
    packed_json,
)
from rlhf_fair.report.figures import figure
from rlhf_fair.report.long_tables import rows_block

TEMPLATES = Path(__file__).parent / "templates"


def render(page: Page, template: str = "page.html.j2", bundle: Bundle | None = None) -> str:
    """The page as HTML; the same arguments give the same bytes.

    ``template``: one of `TEMPLATES`. ``bundle``: the Plotly that draws the plots, by default the installed one; one
    that lacks a trace type which a plot needs is refused.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    figures = {plot.id: figure(plot) for section in page.sections for chart in section.charts for plot in chart.plots}
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    plotly = _plotly_source(figures, bundle)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Markup marks what this package wrote or encoded; every string from the results goes through autoescape.
    return environment.get_template(template).render(
        page=page,
        policy=content_security_policy(scripts=[script, plotly] if plotly else [script], style=style),
        style=Markup(style),
        script=Markup(script),
        plotly=Markup(packed(plotly.encode())) if plotly else "",
        figures=Markup(packed_json(figures)),
        results=Markup(packed(embedded(json.loads(page.results_json)), numbers=True)),
        blocks={table.id: Markup(packed(rows_block(table))) for table in _tables(page) if table.long},
        plotly_styles=_style_ids(plotly),
        figures_id=FIGURES_ID,
        results_id=RESULTS_ID,
        plotly_id=PLOTLY_ID,
        rows_suffix=ROWS_SUFFIX,
    )


def _tables(page: Page) -> list[Table]:
    """All tables of a page, those beside charts among them."""
    return [
        table for section in page.sections for table in (*(chart.table for chart in section.charts), *section.tables)
    ]


def _plotly_source(figures: Mapping[str, Any], bundle: Bundle | None) -> str:
    """The bundle's text; "" where a page has no plots."""
    if not figures:
        return ""
    bundle = bundle or installed_bundle()
    bundle.check(trace.get("type", "scatter") for drawn in figures.values() for trace in drawn["data"])
    return bundle.source


def _style_ids(plotly: str) -> list[str]:
    """Ids of style elements that Plotly's bundle would add for its maps unless the page already has them.

    The policy forbids those styles; an empty element of the same id keeps the bundle from trying.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly)))
