"""vramplan: will this fine-tune fit, with what to spare, and what should change?

    from vramplan import estimate, Recipe

    answer = estimate("llama-70b", "a100-80", Recipe(method="qlora", batch=2))
    print(answer.estimates[0].verdict, answer.estimates[0].memory.device_bytes)

Names load when they are first used: `import vramplan` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import estimate as estimate
    from .decide import fit as fit
    from .decide import plan_job as plan_job
    from .decide import sweep as sweep
    from .errors import VramplanError as VramplanError
    from .estimator.result import Answer as Answer
    from .estimator.result import Estimate as Estimate
    from .export.write import export_recipe as export_recipe
    from .gpu import Gpu as Gpu
    from .intake.merge import read_recipe as read_recipe
    from .model import Model as Model
    from .recipe import Recipe as Recipe

__version__ = "0.1.0"
__all__ = [
    "Answer", "Estimate", "Gpu", "Model", "Recipe", "VramplanError", "__version__", "estimate", "export_recipe", "fit",
    "plan_job", "read_recipe", "sweep",
]  # fmt: skip

_HOME = {
    "Answer": "estimator.result",
    "Estimate": "estimator.result",
    "Gpu": "gpu",
    "Model": "model",
    "Recipe": "recipe",
    "VramplanError": "errors",
    "estimate": "api",
    "fit": "decide",
    "plan_job": "decide",
    "sweep": "decide",
    "export_recipe": "export.write",
    "read_recipe": "intake.merge",
}
"""Name -> the module that holds it."""


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
