"""vramplan: will this fine-tune fit, with what to spare, and what should change?

    from vramplan import estimate, Recipe

    answer = estimate("llama-70b", "a100-80", Recipe(method="qlora", batch=2))
    print(answer.estimates[0].verdict, answer.estimates[0].memory.device_bytes)

Names load when they are first used: `import vramplan` costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import estimate as estimate
    from .errors import VramplanError as VramplanError
    from .estimate.result import Answer as Answer
    from .estimate.result import Estimate as Estimate
    from .gpu import Gpu as Gpu
    from .model import Model as Model
    from .recipe import Recipe as Recipe

__version__ = "0.1.0"
__all__ = ["Answer", "Estimate", "Gpu", "Model", "Recipe", "VramplanError", "__version__", "estimate"]

_HOME = {
    "Answer": "estimate.result",
    "Estimate": "estimate.result",
    "Gpu": "gpu",
    "Model": "model",
    "Recipe": "recipe",
    "VramplanError": "errors",
}


class _Package(ModuleType):
    """`estimate` is a function here and also a sub-package, which the import system would bind in its place."""

    @property
    def estimate(self) -> Any:
        from .api import estimate

        return estimate

    @estimate.setter
    def estimate(self, module: ModuleType) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{self.__name__}.{_HOME[name]}"), name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
