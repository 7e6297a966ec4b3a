"""Describe a component without importing it: its source is read, not run."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from pprint import pformat
from typing import Any

from ltbench.registry import Component

FACTS = (
    "version",
    "TIERS",
    "SEARCH",
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


def _constructor(node: ast.ClassDef, tree: ast.Module) -> tuple[list[str], ast.ClassDef]:
    """Options with their defaults, and the class that names them: this one or, by inheritance, a dataclass."""
    for n in node.body:
        if isinstance(n, ast.FunctionDef) and n.name == "__init__":
            return _options(n, 1), node
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign) and "ClassVar" not in ast.unparse(n.annotation)]
        named = [(ast.unparse(n.target), ast.unparse(n.value) if n.value else "(required)") for n in fields]
        return [f"{name} = {value}" for name, value in named], node
    for base in node.bases:
        found = _named(base.id, tree) if isinstance(base, ast.Name) else None
        if found is not None and isinstance(found[0], ast.ClassDef):
            options, owner = _constructor(found[0], found[1])
            if options:
                return options, owner
    return [], node


def _named(name: str, tree: ast.Module) -> tuple[ast.stmt, ast.Module] | None:
    """Where a module defines a name, or imports it from: the statement and its module."""
    for n in tree.body:
        if _defines(n, name):
            return n, tree
        if isinstance(n, ast.ImportFrom) and n.module and any((a.asname or a.name) == name for a in n.names):
            away = _source(n.module)
            return _named(name, away) if away else None
    return None


def _resolved(value: ast.expr, tree: ast.Module) -> ast.expr:
    """`options.TIERS` as what stands there, where `options` is an imported module."""
    if not isinstance(value, ast.Attribute) or not isinstance(value.value, ast.Name):
        return value
    for n in tree.body:
        if isinstance(n, ast.ImportFrom) and any(a.name == value.value.id for a in n.names):
            away = _source(f"{n.module}.{value.value.id}")
            found = [v for s in (away.body if away else []) for t, v in _assigned(s) if t == value.attr]
            return found[0] if found else value
    return value


def describe(component: Component) -> str:
    """Id, summary, citation, documentation, options with defaults and facts, as text."""
    lines = [f"{component.kind} {component.id}", component.summary]
    lines += [f"cite: {component.cite}"] if component.cite else []
    lines += [f"from: {component.plugin} ({component.target})"]
    module, _, name = component.target.partition(":")
    tree = _source(module)
    node: Any = next((n for n in tree.body if _defines(n, name)), None) if tree else None
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        assert tree is not None
        options, owner = (_options(node, 2), node) if isinstance(node, ast.FunctionDef) else _constructor(node, tree)
        for part in dict.fromkeys((node, owner)):
            document = ast.get_docstring(part)
            lines += ["", document] if document else []
        lines += ["", "options", *(f"  {option}" for option in options)] if options else []
        facts = [(t, v) for n in node.body for t, v in _assigned(n) if t in FACTS]
        lines += ["", "facts", *(f"  {t} = {ast.unparse(_resolved(v, tree))}" for t, v in facts)] if facts else []
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        made = any(isinstance(part, ast.Call | ast.Name) for part in ast.walk(node.value))  # by a helper: plain data
        lines += ["", pformat(component.value, sort_dicts=False, width=100) if made else ast.unparse(node.value)]
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
