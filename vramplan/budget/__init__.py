"""A project's budget: scenario file -> jobs -> memory, time and money, with ranges, sources and what moves them.

scenario file (TOML, YAML) -> Scenario -> Budget -> renderers
                                          Budget, Budget -> Difference
"""

from __future__ import annotations
