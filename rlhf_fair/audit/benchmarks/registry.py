"""Which benchmarks there are, by the name that a plan's ``probe`` gives; each is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module

from rlhf_fair.audit.benchmarks.base import Benchmark

NAMES: dict[str, str] = {
    "bbq": "BBQ",
    "bold": "BOLD",
    "crows_pairs": "CrowsPairs",
    "honest": "Honest",
    "real_toxicity": "RealToxicity",
    "recommendation": "Recommendation",
    "regard": "Regard",
    "representation": "Representation",
    "decisions": "Decisions",
    "dialect": "Dialect",
    "holistic_bias_likelihood": "HolisticBiasLikelihood",
    "redditbias": "RedditBias",
    "seat": "Seat",
    "stereoset": "StereoSet",
    "winobias": "WinoBias",
    "winogender": "Winogender",
}
"""Probe, which is also the module's name -> class."""


def find_benchmark(probe: str) -> type[Benchmark]:
    """The benchmark of that name; `NAMES` has them all."""
    module = import_module(f"rlhf_fair.audit.benchmarks.{probe}")
    found: type[Benchmark] = getattr(module, NAMES[probe])
    return found
