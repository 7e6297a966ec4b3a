"""Drawings as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.results.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure in the format that the file's name ends in; UserError for one that matplotlib has not."""
    known, wanted = figure.canvas.get_supported_filetypes(), path.suffix.lower().removeprefix(".")
    if wanted not in known:
        raise UserError(f"{path} cannot be drawn: its name must end in .{', .'.join(sorted(known))}")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format=wanted)
    atomic_write(path, buffer.getvalue())
