"""New York City's own worked numbers, against which impact ratios are tested."""

from __future__ import annotations

# The example of the Department of Consumer and Worker Protection for scored applicants (6 RCNY 5-301(c)): count, number
# above the median, scoring rate and impact ratio as printed there.
DCWP_SEX = {"Male": (92, 50, "0.543", "1.00"), "Female": (76, 34, "0.447", "0.82")}
DCWP_RACE = {
    "Hispanic or Latino": (28, 18, "0.642", "1.00"),
    "White": (40, 15, "0.375", "0.58"),
    "Black or African American": (32, 16, "0.500", "0.78"),
    "Native Hawaiian or Pacific Islander": (8, 5, "0.625", "0.97"),
    "Asian": (24, 10, "0.417", "0.65"),
    "Native American or Alaska Native": (16, 10, "0.625", "0.97"),
    "Two or More Races": (20, 10, "0.500", "0.78"),
}
