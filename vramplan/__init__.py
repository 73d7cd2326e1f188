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
    "estimate": "estimate",
}
"""Name -> the module that is or holds it."""


class _CallableModule(ModuleType):
    """The sub-package `vramplan.estimate`, which can also be called as `vramplan.api.estimate`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Answer:
        from .api import estimate

        return estimate(*args, **kwargs)


class _Package(ModuleType):
    """`estimate` names a function and a sub-package. Whichever is imported first, it has to serve as both."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "estimate":
            value.__class__ = _CallableModule
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from importlib import import_module

        home = import_module(f"{self.__name__}.{_HOME[name]}")
        return home if name == "estimate" else getattr(home, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package
