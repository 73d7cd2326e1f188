"""Memory of a training step: `answer` for one question, `allocated_bytes` for a million of them."""

from .answer import answer, estimate_one, memory_tiers
from .many import allocated_bytes
from .result import Answer, Estimate

__all__ = ["Answer", "Estimate", "allocated_bytes", "answer", "estimate_one", "memory_tiers"]
