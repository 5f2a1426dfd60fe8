"""Benchmarks against peers; each part prints ratios and the settings it ran with. All: `python -m bench`."""
