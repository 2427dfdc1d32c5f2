"""Reward models: what they learn from (objectives), for whom (mitigations), and how (trainer)."""
