"""Reports of measured runs: what a card did, what that costs, and how good the predictions were."""

from __future__ import annotations
