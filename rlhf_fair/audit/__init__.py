"""Plan, run, findings, verdicts, results on disk."""
