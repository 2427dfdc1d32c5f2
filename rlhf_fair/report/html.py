"""The page: one file, no network, readable without scripts, and nothing runs in it but what its policy names."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
from rlhf_fair.report.environment import TEMPLATES, environment
from rlhf_fair.report.figures import figure
from rlhf_fair.report.long_tables import rows_block


def render(page: Page, template: str = "page.html.j2", bundle: Bundle | None = None) -> str:
    """The page as HTML; the same arguments give the same bytes.

    ``template``: one of `TEMPLATES`. ``bundle``: the Plotly that draws the plots, by default the installed one; one
    that lacks a trace type which a plot needs is refused.
    """
    from markupsafe import Markup

    figures = {plot.id: figure(plot) for section in page.sections for chart in section.charts for plot in chart.plots}
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    plotly = _bundle_for(figures, bundle)
    # Markup marks what this package wrote or encoded; every string from the results goes through autoescape.
    shown = environment().get_template(template)
    return shown.render(
        page=page,
        policy=content_security_policy(scripts=[script, plotly.source] if plotly else [script], style=style),
        style=Markup(style),
        script=Markup(script),
        plotly=Markup(plotly.packed) if plotly else "",
        figures=Markup(packed_json(figures)),
        results=Markup(packed(embedded(json.loads(page.results_json)), numbers=True)),
        blocks={table.id: Markup(packed(rows_block(table))) for table in _tables(page) if table.long},
        plotly_styles=plotly.style_ids if plotly else [],
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


def _bundle_for(figures: Mapping[str, Any], bundle: Bundle | None) -> Bundle | None:
    """What draws the plots; None where a page has none."""
    if not figures:
        return None
    bundle = bundle or installed_bundle()
    bundle.check(trace.get("type", "scatter") for drawn in figures.values() for trace in drawn["data"])
    return bundle
