"""Proximal policy optimisation for language models: pure functions, one rollout, one trainer."""
