"""Self-contained pages: one file, no network, every text escaped, the same data give the same bytes."""

from __future__ import annotations
