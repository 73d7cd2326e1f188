"""The child of a measurement: `python -m vramplan_bench.child FD` runs one cell and tells its parent (protocol)."""
