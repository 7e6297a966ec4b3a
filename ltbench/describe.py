"""Describe a component without importing it: its source is read, not run."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

from ltbench.registry import Component

FACTS = (
    "version",
    "TIERS",
    "slots",
    "views",
    "owns",
    "needs",
    "head",
    "guided",
    "conditional",
    "value_range",
    "on",
    "higher_is_better",
    "classes",
    "native_size",
    "channels",
    "licence",
    "homepage",
    "how_to_get",
    "official_counts",
)


def _source(module: str) -> ast.Module | None:
    """The parsed source of a module; parents are imported, so a plugin's package must stay light."""
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    return ast.parse(Path(spec.origin).read_text())


def _options(function: ast.FunctionDef, skip: int) -> list[str]:
    arguments = function.args
    defaults: list[ast.expr | None] = [None] * (len(arguments.args) - len(arguments.defaults)) + list(
        arguments.defaults
    )
    pairs = list(zip(arguments.args, defaults, strict=True))[skip:]
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    return [f"{a.arg} = {ast.unparse(d) if d is not None else '(required)'}" for a, d in pairs]


def _constructor(node: ast.ClassDef) -> list[str]:
    inits = (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return next((_options(init, 1) for init in inits), [])


def describe(component: Component) -> str:
    """Id, summary, citation, documentation, options with defaults and facts, as text."""
    lines = [f"{component.kind} {component.id}", component.summary]
    lines += [f"cite: {component.cite}"] if component.cite else []
    lines += [f"from: {component.plugin} ({component.target})"]
    module, _, name = component.target.partition(":")
    tree = _source(module)
    node: Any = next((n for n in tree.body if _defines(n, name)), None) if tree else None
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        document = ast.get_docstring(node)
        lines += ["", document] if document else []
        options = _options(node, 2) if isinstance(node, ast.FunctionDef) else _constructor(node)
        lines += ["", "options", *(f"  {option}" for option in options)] if options else []
        facts = [(t, v) for n in node.body for t, v in _assigned(n) if t in FACTS]
        lines += ["", "facts", *(f"  {t} = {ast.unparse(v)}" for t, v in facts)] if facts else []
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        lines += ["", ast.unparse(node.value)]
    return "\n".join(lines)


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr]]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        return [(node.target.id, node.value)]
    if isinstance(node, ast.Assign):
        return [(t.id, node.value) for t in node.targets if isinstance(t, ast.Name)]
    return []


def _defines(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return node.name == name
    return any(target == name for target, _ in _assigned(node))
