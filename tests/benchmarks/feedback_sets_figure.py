"""A forest plot of the nine rating sets: every claim, and every other gap that something can be said of.

Drawn by Plotly in a headless Chromium, from ``gaps.csv`` alone.

    python tests/benchmarks/feedback_sets_figure.py reports/case-study/feedback
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from feedback_family import BEYOND, OPEN, SMALL, UNKNOWN, UNMEASURED, WITHIN
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
LOOKS = {  # Okabe and Ito's colours, and a shape each
    BEYOND: ("#D55E00", "triangle-up"),
    OPEN: ("#D55E00", "triangle-up-open"),
    SMALL: ("#009E73", "circle-open"),
    WITHIN: ("#009E73", "circle"),
    UNKNOWN: ("#767676", "diamond-open"),
}
WIDTH, ROW, FRAME = 980, 19, 150
"""Pixels."""


def shown(gaps: pd.DataFrame) -> pd.DataFrame:
    """Claims that were measured, then the others with an answer; by set and size."""
    known = gaps[gaps["verdict"] != UNMEASURED]
    claims = known[known["role"] == "claim"].sort_values(["set", "attribute", "estimate"])
    others = known[(known["role"] != "claim") & (known["verdict"] != UNKNOWN)].sort_values(["set", "attribute"])
    return pd.concat([claims, others], ignore_index=True)


def forest(gaps: pd.DataFrame) -> go.Figure:
    """One line for each gap, top to bottom; the margin is shaded."""
    rows = shown(gaps)
    rows["at"] = -rows.index
    figure = go.Figure(layout={"template": "none", "width": WIDTH, "height": FRAME + ROW * len(rows)})
    margin = float(rows["margin"].iloc[0])
    figure.add_vrect(-margin, margin, fillcolor="#E8EEF4", line_width=0, layer="below")
    figure.add_vline(0, line={"color": "#444444", "width": 1})
    first_other = int((rows["role"] == "claim").sum())
    figure.add_hline(0.5 - first_other, line={"color": "#444444", "width": 1, "dash": "dot"})
    for verdict, (colour, shape) in LOOKS.items():
        part = rows[rows["verdict"] == verdict]
        if part.empty:
            continue
        figure.add_scatter(
            x=part["estimate"],
            y=part["at"],
            name=verdict,
            mode="markers",
            marker={"color": colour, "symbol": shape, "size": 9},
            error_x={
                "array": part["ci_high"] - part["estimate"],
                "arrayminus": part["estimate"] - part["ci_low"],
                "color": colour,
                "thickness": 1.5,
                "width": 0,
            },
        )
    labels = [f"{r.set} · {r.attribute}: {r.group} – {r.reference}" for r in rows.itertuples()]
    figure.update_yaxes(
        tickvals=rows["at"], ticktext=labels, tickfont_size=11, showgrid=False, zeroline=False, range=[-len(rows), 1]
    )
    figure.update_xaxes(
        title="group less reference, points of 100, with 95 % interval; shaded: within ±5", zeroline=False
    )
    figure.update_layout(
        legend={"orientation": "h", "y": 1.01, "yanchor": "bottom"}, margin={"l": 400, "r": 20, "t": 60}
    )
    return figure


def draw(figure: go.Figure, path: Path) -> None:
    """Write the figure as a PNG."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "figure.html"
        figure.write_html(page_file, include_plotlyjs=True)
        options = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": figure.layout.width + 20, "height": figure.layout.height + 20})
        page.goto(page_file.as_uri())
        page.locator(".main-svg").first.wait_for()
        page.locator(".plot-container").screenshot(path=path)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with gaps.csv; gaps.png is written beside it")
    folder = parser.parse_args().folder
    draw(forest(pd.read_csv(folder / "gaps.csv")), folder / "gaps.png")


if __name__ == "__main__":
    main()
