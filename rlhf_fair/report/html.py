"""The page: one file, no network, readable without scripts, and nothing runs in it but what its policy names."""

from __future__ import annotations

import re
from pathlib import Path

from rlhf_fair.report.display import Page
from rlhf_fair.report.embed import FIGURES_ID, RESULTS_ID, content_security_policy, packed, safe_json
from rlhf_fair.report.figures import figure

TEMPLATES = Path(__file__).parent / "templates"


def render(page: Page, template: str = "page.html.j2") -> str:
    """The page as HTML; the same page gives the same bytes. ``template``: one of `TEMPLATES`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    plots = [plot for section in page.sections for chart in section.charts for plot in chart.plots]
    style = (TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    plotly = _plotly_source() if plots else ""
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
        policy=content_security_policy(scripts=[script, plotly] if plots else [script], style=style),
        style=Markup(style),
        script=Markup(script),
        plotly=Markup(packed(plotly.encode())) if plots else "",
        figures=Markup(safe_json({plot.id: figure(plot) for plot in plots})),
        results=Markup(packed(page.results_json)),
        plotly_styles=_style_ids(plotly),
        figures_id=FIGURES_ID,
        results_id=RESULTS_ID,
    )


def _plotly_source() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _style_ids(plotly: str) -> list[str]:
    """Ids of style elements that Plotly's bundle would add for its maps unless the page already has them.

    The policy forbids those styles; an empty element of the same id keeps the bundle from trying.
    """
    return sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', plotly)))
