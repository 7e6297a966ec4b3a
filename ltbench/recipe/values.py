"""Values of recipes: --set texts, dotted keys, hashes of files."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ltbench.errors import UserError


def parse_set(pairs: list[str]) -> dict[str, Any]:
    """KEY=VALUE texts -> values: numbers, true/false/none, lists; everything else stays a string."""
    words = {"true": True, "false": False, "none": None, "null": None}
    result: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set needs KEY=VALUE, got {pair!r}; for example --set protocol.epochs=5")
        try:
            result[key] = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
        except (ValueError, SyntaxError):
            result[key] = text
    return result


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mapping -> dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; a component id on the way becomes {name: id}."""
    *path, last = key.split(".")
    for part in path:
        step = tree.get(part)
        if isinstance(step, str):
            tree[part] = {"name": step}
        elif not isinstance(step, dict):
            tree[part] = {}
        tree = tree[part]
    tree[last] = value


def suffix(changes: Mapping[str, Any]) -> str:
    return "".join(f"+{key}={Path(str(value)).name}" for key, value in sorted(changes.items()))


def content_hash(path: Path) -> str:
    """sha256 over a file, or over the names and contents of a folder's files."""
    from ltbench.cell import digest
    from ltbench.results.files import sha256

    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    return digest([(f.relative_to(path).as_posix(), sha256(f)) for f in files])
