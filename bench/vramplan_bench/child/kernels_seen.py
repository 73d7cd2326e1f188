"""Which kernel torch picks for scaled_dot_product_attention while a step runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

NAMES = {0: "math", 1: "flash", 2: "efficient", 3: "cudnn"}
"""aten/native/transformers/sdp_utils_cpp.h, enum SDPBackend."""


@contextmanager
def kernels_seen() -> Iterator[set[str]]:
    """Collects names of kernels. It asks torch's own choice for the tensors as autocast will hand them over."""
    seen: set[str] = set()
    plain = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Any, key: Any, value: Any, *rest: Any, **options: Any) -> Any:
        kind = query.device.type
        if torch.is_autocast_enabled(kind):
            low = torch.get_autocast_dtype(kind)
            cast = [tensor.to(low) for tensor in (query, key, value)]
        else:
            cast = [query, key, value]
        try:
            chosen = int(torch._fused_sdp_choice(*cast, *rest, **options))
            seen.add(NAMES.get(chosen, str(chosen)))
        except Exception as error:  # a private function; not knowing the kernel spoils no measurement
            seen.add(f"not known: {type(error).__name__}")
        del cast
        return plain(query, key, value, *rest, **options)

    with patch.object(torch.nn.functional, "scaled_dot_product_attention", spy):
        yield seen
