"""A planned recipe as the command that estimates it: what the stack would have chosen anyway is left out."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING

from ..catalog import find_stack
from ..recipe import Recipe, ResolvedRecipe
from ..resolve import resolve

if TYPE_CHECKING:
    from ..gpu import Gpu


_LEFT_OUT = ("method", "stack", "gpus", "sharding", "batch", "seq_len", "grad_accum")


def estimate_command(model: str, gpu: Gpu, recipe: ResolvedRecipe) -> tuple[str, ...]:
    """Words of `vramplan estimate …`: the memory on each card, as typed in a shell."""
    words = ["vramplan", "estimate", model, "--gpu", gpu.key, "--method", recipe.method]
    if recipe.stack != "trl":
        words += ["--stack", recipe.stack]
    for knob, plain in (("gpus", 1), ("batch", 1), ("seq_len", 2048), ("grad_accum", 1)):
        if getattr(recipe, knob) != plain:
            words += [f"--{knob.replace('_', '-')}", str(getattr(recipe, knob))]
    if recipe.sharding not in ("none", "ddp"):
        words += ["--sharding", recipe.sharding]
    default = resolve(Recipe(method=recipe.method), recipe.method, find_stack(recipe.stack), gpu).as_dict()
    for knob, value in recipe.as_dict().items():
        if knob not in _LEFT_OUT and value != default[knob]:
            flag = knob.replace("_", "-")
            words += [f"--{'' if value else 'no-'}{flag}"] if isinstance(value, bool) else [f"--{flag}", f"{value}"]
    return tuple(words)


def shell_lines(words: Sequence[str], width: int) -> tuple[str, ...]:
    """Words as lines to be copied into a shell: a flag stays with its value, a backslash goes on with the next line."""
    parts: list[str] = []
    for word in words:
        flagged = bool(parts) and parts[-1].startswith("--") and " " not in parts[-1] and not word.startswith("--")
        quoted = quote(word)
        parts[-1:] = [f"{parts[-1]} {quoted}"] if flagged else [*parts[-1:], quoted]
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines[-1] += " \\"
            lines.append(f"  {part}")
    return tuple(lines)
