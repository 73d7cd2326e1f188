"""Data only: models, GPUs, prices, stacks and measurements, every row with its source. `vramplan.catalog` reads it."""

DATA: str = __path__[0]
"""The folder that holds the files."""
