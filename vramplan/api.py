"""The question in one call: what the command line asks, and what `from vramplan import estimate` gives."""

from __future__ import annotations

from os import PathLike, fspath
from typing import TYPE_CHECKING

from .catalog import find_gpu, find_model
from .estimator import answer
from .gpu import Gpu
from .model import Model
from .recipe import METHODS, Method, Recipe

if TYPE_CHECKING:
    from .estimator.result import Answer
    from .stack import Stack


def estimate(
    model: Model | str | PathLike[str],
    gpu: Gpu | str | None = None,
    recipe: Recipe | None = None,
    *,
    methods: tuple[Method, ...] | None = None,
    stack: Stack | str = "trl",
    levers: bool = False,
    online: bool = False,
) -> Answer:
    """Memory, verdict and limits of fine-tuning `model` on `gpu`.

    `model` is an alias, a hub id of the catalogue, a folder or file with a config.json, or a `Model`; `gpu` a key or
    name of the catalogue, a `Gpu`, or None for memory without a verdict. Without `methods` the recipe's own method is
    answered, and without a recipe full, LoRA and QLoRA with the defaults of `stack`. `levers` also works out what
    single changes of the recipe would save, which takes longer than the estimate itself; `online` may ask the hub.
    Raises `VramplanError` with a message for people where the question cannot be answered. Bytes are per GPU.
    """
    if methods is None:
        methods = METHODS if recipe is None else (recipe.method,)
    return answer(
        model if isinstance(model, Model) else find_model(fspath(model), online=online),
        find_gpu(gpu) if isinstance(gpu, str) else gpu,
        recipe or Recipe(),
        methods=methods,
        stack=stack,
        levers=levers,
    )
