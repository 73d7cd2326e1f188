"""The one question that leaves the machine, only with --online: a model's config.json on the Hugging Face hub."""

from __future__ import annotations

from ..errors import VramplanError

TIME_LIMIT_S = 4.0
"""So that the whole command is over within 5 s."""


def download_config(hub_id: str) -> str:
    """Path of the downloaded config.json. Needs the extra [hub]; raises VramplanError when the time is over."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import disable_progress_bars
    except ImportError:
        raise VramplanError(f"{hub_id}: --online needs huggingface_hub (pip install 'vramplan[hub]')") from None
    import logging
    import threading

    # The answer is one line: no bars, and no word of each of the library's retries.
    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    outcome: list[str | Exception] = []

    def download() -> None:
        try:
            outcome.append(hf_hub_download(hub_id, "config.json", etag_timeout=TIME_LIMIT_S))
        except Exception as error:  # of the library, of the network below it, of the disk: all are told alike
            outcome.append(error)

    # A thread, because the library retries and resolves names without a limit of its own.
    worker = threading.Thread(target=download, daemon=True)
    worker.start()
    worker.join(TIME_LIMIT_S)
    if not outcome:
        raise VramplanError(f"{hub_id}: the hub did not answer within {TIME_LIMIT_S:g} s")
    if isinstance(outcome[0], Exception):
        lines = str(outcome[0]).strip().splitlines() or [type(outcome[0]).__name__]
        raise VramplanError(f"{hub_id}: no config.json from the hub: {lines[0][:160]}")
    return outcome[0]
