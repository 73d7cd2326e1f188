"""Finds models, GPUs and prices by name: strict about meaning, forgiving of spelling, with suggestions."""

from __future__ import annotations

from .gpus import find_gpu, gpus
from .models import ModelEntry, aliases, find_model, models
from .prices import prices

__all__ = ["ModelEntry", "aliases", "find_gpu", "find_model", "gpus", "models", "prices"]
