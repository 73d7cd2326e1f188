"""`MemoryRecorder`: a real training job as a measurement, in the schema of the rig's records.

    train_begin ─ step_begin ─ (forward ─ backward) x micro-batches ─ optimizer ─ step_end ─ … ─ train_end
                     the allocator's peaks are read and begun anew at every ─

Nothing waits for the device. The caching allocator counts on the host, in the order in which work is asked for, so a
peak belongs to its phase however far the device lags behind; a reading is one look at counters in the host's memory,
twice a micro-batch and once an optimizer step. Device use is NVML's, looked at in few steps. Times are from the end of
one step to the end of the next, with the same lag at both ends. On the CPU only times are taken.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import torch
from transformers import TrainerCallback

from vramplan.errors import one_line
from vramplan.record import Record, write_records

from ..runner.nvml import Board, open_board
from .readback import on_cuda
from .record import Job, record_of
from .tally import WARM_STEPS, Tally

DEVICE_EVERY = 25
"""Steps between looks at the device, after the first few: reserved bytes hardly ever fall."""


class MemoryRecorder(TrainerCallback):
    """`Trainer(..., callbacks=[MemoryRecorder("records.jsonl")])`, and SFTTrainer in the same way.

    The record is appended to `path` when training ends, or when the process does in the middle of it (an exception,
    Ctrl-C; not a kill). Around `trainer.train()`, `with recorder:` tells it at once what ended the training. A path
    that cannot be written to is an error before the first step; later it is a warning. Made before anything is on the
    GPU, it also knows what others use of it, and so the job's own device bytes.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        cuda: Any = torch.cuda,
        board: Board | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.path = os.fspath(path)
        self.record: Record | None = None
        """What was written last."""
        self._cuda, self._clock = cuda, clock
        self._board = board or (open_board() if cuda.is_available() else None)
        early = self._board is not None and not cuda.is_initialized()
        self._device = {"baseline_bytes": self._used_bytes() if early else None, "used_bytes": None}
        self._open: tuple[Job, Tally, list[Any]] | None = None

    def __enter__(self) -> MemoryRecorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(error)

    # ---------------------------------------------------------------------------------------- what the Trainer says

    def on_train_begin(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._finish(KeyboardInterrupt())  # an earlier training that never ended
        model = objects["model"]
        tally = Tally(self._cuda if on_cuda(model) else None, self._clock)
        hooks = []
        if state.is_world_process_zero:
            write_records(self.path, ())  # a path that cannot be written to is told before any time is spent

            def begins(module: Any, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
                if module.training:
                    tokens = named.get("input_ids", inputs[0] if inputs else None)
                    shape = tuple(tokens.shape) if isinstance(tokens, torch.Tensor) else None
                    tally.begin_micro_batch(shape, chunked=bool(named.get("fused_lm_head")))

            def ends(module: Any, inputs: Any, output: Any) -> None:
                if module.training:
                    tally.read("forward")

            hooks = [model.register_forward_pre_hook(begins, with_kwargs=True), model.register_forward_hook(ends)]
            self._open = Job(model=model, args=args, optimizer=objects.get("optimizer")), tally, hooks
            atexit.register(self._at_exit)
            tally.reset()

    def on_step_begin(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        if tally := self._tally:
            tally.begin_step()

    def on_substep_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._read("backward")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._read("backward")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._read("optimizer_step")

    def on_step_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        if tally := self._tally:
            tally.end_step()
            if tally.counts_memory and (tally.step <= WARM_STEPS or tally.step % DEVICE_EVERY == 0):
                used = self._used_bytes()
                if used is not None:
                    self._device["used_bytes"] = max(used, self._device["used_bytes"] or 0)

    def on_evaluate(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._read("evaluate", between=True)

    def on_save(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._read("save", between=True)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        if tally := self._tally:
            tally.pause()

    def on_train_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._finish(None)

    # ---------------------------------------------------------------------------------------------------- counting

    @property
    def _tally(self) -> Tally | None:
        return None if self._open is None else self._open[1]

    def _read(self, phase: str, *, between: bool = False) -> None:
        if tally := self._tally:
            tally.read(phase)
            if between:
                tally.pause()

    def _used_bytes(self) -> int | None:
        return None if self._board is None else self._board.used_bytes()

    def _at_exit(self) -> None:
        """The process ends within the training: by what, the interpreter has noted."""
        self._finish(getattr(sys, "last_value", None) or KeyboardInterrupt())

    def _finish(self, error: BaseException | None) -> None:
        """Write the record of the training that is open, if one is."""
        if self._open is None:
            return
        job, tally, hooks = self._open
        self._open = None
        atexit.unregister(self._at_exit)
        for hook in hooks:
            hook.remove()
        try:
            facts = {} if self._board is None else self._board.facts()
            self.record = record_of(job, tally, error, device=self._device, facts=facts)
            write_records(self.path, [self.record])
        except Exception as failure:  # a measurement must cost nobody a trained model
            said = f"vramplan: no record of this training: {one_line(failure, 300)}"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
