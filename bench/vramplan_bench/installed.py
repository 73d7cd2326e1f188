"""Versions of the libraries that make the step, read without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl")


def versions() -> dict[str, str]:
    """Installed versions of what the step is made of; a package that is not there is left out."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
