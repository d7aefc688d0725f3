"""Sections of `benchmarks/labelling.py`: each measures one thing and returns {name: number}."""
