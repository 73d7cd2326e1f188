"""Reads a recipe from what people already have: configuration files of TRL, axolotl, LLaMA-Factory, PEFT, accelerate...

from vramplan import estimate, read_recipe

found = read_recipe("sft.yaml", "accelerate.yaml")
answer = estimate(found.model, "a100-80", found.recipe(), stack=found.stack)
"""

from __future__ import annotations

from .merge import read_recipe
from .result import Intake, Knobs, SourceFile, Unsettled

__all__ = ["Intake", "Knobs", "SourceFile", "Unsettled", "read_recipe"]
