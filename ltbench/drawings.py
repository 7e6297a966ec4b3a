"""Drawings as files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ltbench.errors import UserError
from ltbench.results.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".jpg", ".svg", ".pdf")


def check(path: Path) -> None:
    """UserError for a name that ends in none of `FORMATS`, before the work of a drawing is done."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path} cannot be drawn: its name must end in {', '.join(FORMATS)}")


def save(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure in the format that the file's name ends in; UserError for another than `FORMATS`."""
    check(path)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=dpi, format=path.suffix.lower().removeprefix("."))
    atomic_write(path, buffer.getvalue())
