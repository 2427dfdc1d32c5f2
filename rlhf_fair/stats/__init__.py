"""Numbers with uncertainty: intervals, tests, equivalence, power, corrections."""
