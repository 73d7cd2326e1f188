"""The one question that leaves the machine, only with --online: a model's config.json on the Hugging Face hub."""

from __future__ import annotations

from ..errors import VramplanError

TIME_LIMIT_S = 5.0


def download_config(hub_id: str) -> str:
    """Path of the downloaded config.json. The extra [hub] is needed; raises VramplanError after 5 s at the latest."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise VramplanError(f"{hub_id}: --online needs huggingface_hub (pip install 'vramplan[hub]')") from None
    import threading

    outcome: list[str | Exception] = []

    def download() -> None:
        try:
            outcome.append(hf_hub_download(hub_id, "config.json", etag_timeout=TIME_LIMIT_S))
        except Exception as error:  # of the library, of the network stack below it, of the disk: all are told alike
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
