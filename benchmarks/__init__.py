"""Measurements: each module prints what it compares and keeps its raw numbers under benchmarks/results/."""
