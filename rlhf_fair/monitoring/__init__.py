"""Dated audits of one plan, side by side: what drifted, with one error rate over all claims and all looks."""
