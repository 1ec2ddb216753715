"""Measurements, run from a checkout: `python -m bench.NAME`."""
