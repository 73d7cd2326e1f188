"""One run, predicted and set beside what was measured."""

from __future__ import annotations

from ..errors import VramplanError
from ..estimator import memory_tiers
from ..runs import BadRow, Run
from .question import question
from .result import Measured, Predicted, Row


def judge(run: Run | BadRow) -> Row:
    """The row of a run; whatever cannot be answered says why."""
    if isinstance(run, BadRow):
        return Row(id=run.id, where=run.where, status="error", reason=run.reason)
    try:
        asked = question(run)
        tiers, verdict = memory_tiers(asked.model, asked.recipe, asked.stack, asked.gpu)
    except VramplanError as error:
        return _row(run, reason=str(error))
    predicted = Predicted(
        allocated_bytes=tiers.allocated_bytes,
        reserved_bytes=tiers.reserved_bytes,
        device_bytes=tiers.device_bytes,
        fits=verdict,
    )
    return _row(run, predicted=predicted, assumed=asked.assumed)


def _row(
    run: Run, *, predicted: Predicted | None = None, reason: str | None = None, assumed: dict[str, str] | None = None
) -> Row:
    return Row(
        id=run.id,
        where=run.where,
        status="ok" if predicted else "unsupported",
        reason=reason,
        stack=run.stack or "",
        method=run.method or "",
        model=run.model or "",
        gpus=run.gpus,
        assumed=assumed or {},
        predicted=predicted,
        measured=Measured(
            allocated_bytes=run.allocated_bytes,
            reserved_bytes=run.reserved_bytes,
            device_bytes=run.device_bytes,
            tokens_per_s_per_gpu=run.tokens_per_s_per_gpu,
            outcome=run.outcome,
        ),
    )
