"""Results of audits that are no gap of a model: ratings by people, ratios and levels, and one that stopped early."""

from __future__ import annotations

from rlhf_fair.records import NAN, Finding, Results, Verdict

EXCEEDS, WITHIN, OPEN, MISSING = Verdict.EXCEEDS, Verdict.WITHIN, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED


def make_finding(**changes: object) -> Finding:
    """A finding that exceeds its threshold; ``changes`` override any field."""
    base: dict[str, object] = {
        "id": "ppo/names/favourability_gap/ethnicity/black/white",
        "stage": "ppo",
        "probe": "name_swap",
        "metric": "favourability_gap",
        "attribute": "ethnicity",
        "group": "black",
        "reference": "white",
        "estimate": -0.31,
        "ci_low": -0.40,
        "ci_high": -0.22,
        "p_value": 0.0001,
        "p_adjusted": 0.0004,
        "threshold": 0.1,
        "margin": 0.1,
        "mde": 0.06,
        "n": 1200,
        "n_clusters": 240,
        "verdict": Verdict.EXCEEDS,
    }
    return Finding.model_validate({**base, **changes})


def feedback_results() -> Results:
    """Four countries, one too small; a gap on the same items, and a difference of gaps."""
    unit = "points of hate rate"

    def rated(group: str, value: float, half: float, p: float, verdict: Verdict, **changes: object) -> Finding:
        base = {"stage": "feedback", "probe": "panel_feedback", "metric": "mean_rating_gap", "unit": unit}
        about = {"attribute": "country", "group": group, "reference": "home", "threshold": 5.0, "margin": 5.0}
        numbers = {"estimate": value, "ci_low": value - half, "ci_high": value + half, "mde": 1.4 * half}
        given = {**base, **about, **numbers, "p_adjusted": p, "verdict": verdict, **changes}
        return make_finding(**{"id": f"{given['metric']}/{group}", **given})

    nothing = {"estimate": NAN, "ci_low": NAN, "ci_high": NAN, "mde": NAN, "p_value": NAN}
    findings = (
        rated("north", 8.204, 3.489, 0.0001, OPEN),
        rated("south", 7.111, 3.306, 0.0001, OPEN),
        rated("east", 0.4, 6.5, 1.0, OPEN),
        rated("west", NAN, NAN, NAN, MISSING, reason="west: 7 raters, the plan asks for 10", **nothing),
        rated("north", 8.1, 2.9, 0.001, EXCEEDS, variant="same_items", role="exploratory", id="same"),
        rated("young", -1.0, 2.0, 0.4, WITHIN, attribute="age", reference="old", role="exploratory"),
        rated(
            "north on local posts", 9, 7, 0.052, OPEN, metric="difference_of_gaps", role="exploratory",
            attribute="country × source", reference="home on other posts",
        ),
    )  # fmt: skip
    means = [["country", "home (reference)", 900, 90], ["country", "north", 400, 41], ["country", "west", 70, 7]]
    agreement = [["country", "north", 41, 0.9, 0.12, "few raters"], ["country", "home", 90, 1.2, 0.05, ""]]
    return Results(
        audit={
            "title": "Who calls it hateful?",
            "alpha": 0.05,
            "data": {"items": "500", "raters": "150", "ratings": "votes.csv", "ratings used": "1,400"},
            "counts": {"input": 1500, "reported": 1390, "excluded": 100, "unknown": 10},
            "exclusions": [{"reason": "the rater did not decide", "n": 100}],
            "tables": {
                "mean rating of every group": {"columns": ["attribute", "group", "ratings", "raters"], "rows": means},
                "agreement inside groups, and across to all other raters (XRR)": {
                    "columns": ["attribute", "group", "raters", "GAI", "chance SD", "note"],
                    "rows": agreement,
                },
                "gaps on each type of item": {"columns": ["attribute", "gap"], "rows": [["country", 1.0]]},
            },
        },
        findings=findings,
    )


def ratio_results() -> Results:
    """Impact ratios held against four fifths, accuracies against .8, error rates against .06."""

    def level(group: str, metric: str, better: str, limits: tuple[float, float], value: tuple[float, ...], **changes):
        estimate, low, high = value
        about = {"id": metric + group, "metric": metric, "better": better, "group": group, "mde": 0.12}
        numbers = {"estimate": estimate, "ci_low": low, "ci_high": high, "threshold": limits[0], "margin": limits[1]}
        return make_finding(**about, **numbers, **changes)

    ratio, accuracy = ("impact_ratio", "one", (0.8, 0.9)), ("accuracy", "high", (0.8, 0.8))
    error = ("error_rate", "low", (0.06, 0.06))
    return Results(
        audit={"title": "Ratios", "alpha": 0.05},
        findings=(
            level("a", *ratio, (0.5, 0.4, 0.62), verdict=EXCEEDS),
            level("b", *ratio, (0.85, 0.74, 0.97), verdict=OPEN, p_adjusted=0.02),
            level("c", *ratio, (1.0, 0.92, 1.08), verdict=WITHIN, p_adjusted=0.9),
            level("d", *ratio, (1.9, 1.254, 2.7), verdict=EXCEEDS),
            *(level(f"h{i}", *accuracy, (v, v - 0.02, v + 0.02), verdict=w)
              for i, (v, w) in enumerate([(0.7, EXCEEDS), (0.75, EXCEEDS), (0.8, OPEN), (0.9, WITHIN)])),
            *(level(f"l{i}", *error, (v, v - 0.01, v + 0.01), verdict=w)
              for i, (v, w) in enumerate([(0.02, WITHIN), (0.055, OPEN), (0.08, EXCEEDS), (0.09, EXCEEDS)])),
        ),
    )  # fmt: skip


def stopped_results() -> Results:
    """An audit that stopped after 192 of at most 3,072 answers."""
    reason = "the whole interval lies beyond 0.1; stopped after 192 of at most 3,072 answers"
    account = {"stopped": "stopped after 192 of at most 3,072 answers", "alpha of each claim": 0.0125}
    # A stray MDE, to see that none is shown where the size was not fixed.
    findings = [make_finding(id=g, group=g, variant="confidence sequence", reason=reason, mde=0.0625) for g in "abcd"]
    return Results(audit={"title": "Stopped", "alpha": 0.05, "sequential": account}, findings=tuple(findings))
