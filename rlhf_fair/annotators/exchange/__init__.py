"""Feedback in the formats of other tools: what each carries, what it cannot, and what is set aside on the way in."""
