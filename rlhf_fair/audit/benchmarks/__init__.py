"""The published benchmarks as audits, one file each: what a plan may set, how its questions are asked."""
