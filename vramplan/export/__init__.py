"""Writes a planned recipe as the configuration that training tools read.

    from vramplan.export import export

    file = export("axolotl", model, estimate.recipe)
    Path(file.name).write_text(file.text)

Every file is read back with `vramplan.intake` before it is handed out: a knob that does not come back as planned is in
`lost`, in the warnings, and in the file's own comments.
"""

from __future__ import annotations

from .result import ExportedFile, ExportKind, Lost, Schedule
from .write import KINDS, export, export_recipe

__all__ = ["KINDS", "ExportKind", "ExportedFile", "Lost", "Schedule", "export", "export_recipe"]
