"""The core knows no plugin: no ids, no type checks, no imports; what must stay light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import ltbench
from ltbench.describe import describe
from ltbench.plugins import plugins
from ltbench.registry import KINDS

ROOT = Path(ltbench.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))
PLUGINS = {path.name for path in (ROOT.parent / "plugins").iterdir() if (path / "__init__.py").exists()}

# Ids that the core names on purpose: what it uses itself, by the catalogue, with the reason.
ALLOWED = {
    "engine/reference.py": {"standard", "instance", "ce"},  # a reference model is the protocol's own plain training
    "recipe/slots.py": {"standard", "instance"},  # the slots that a method leaves out
    "launch/local.py": {"quick", "standard"},  # the default protocol
    "results/record.py": {"standard"},  # a column: the row was not renamed
    "results/rows.py": {"standard"},
    "results/tables.py": {"standard"},
    "results/tail.py": {"standard"},
    "report/boards.py": {"standard"},
    "report/pages.py": {"ce"},  # what the bars of a cell are relative to
    # the conformance suite runs the component under test among plain ones
    "testing/generators.py": {"fixed-quota"},
    "testing/recipes.py": {"digits-lt"},
    "testing/tiny.py": {"ce", "instance", "standard", "real-copies"},
}
# Ids that are everyday words of the core as well: kinds of metrics and records, file names, a folder.
WORDS = {"classification", "generation", "folder"}


def registered() -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for entry in plugins().registry.all():
        if entry.plugin != "under-test":
            kinds.setdefault(entry.id, set()).add(entry.kind)
    return kinds


def strings(tree: ast.Module) -> set[str]:
    documents = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body
        if isinstance(node.body[0], ast.Expr)
    }
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in documents)
    return {node.value for node in constants if isinstance(node.value, str)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_names_no_component(path):
    name = path.relative_to(ROOT).as_posix()
    named = strings(ast.parse(path.read_text())) & (set(registered()) - WORDS)
    assert named <= ALLOWED.get(name, set())


def test_the_core_names_no_method_at_all():
    methods = {id for id, kinds in registered().items() if "method" in kinds} - {"ce"}
    assert {"iois", "oversample-matched"} <= methods
    text = {path: strings(ast.parse(path.read_text())) for path in SOURCES}
    assert not {path: found & methods for path, found in text.items() if found & methods}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_imports_no_plugin_and_checks_no_type_of_one(path):
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.partition(".")[0] for name in names} & PLUGINS
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if called in ("isinstance", "issubclass"):
            assert not {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & class_names()


def class_names() -> set[str]:
    """Names of the classes of the plugins' components."""
    code = [entry for entry in plugins().registry.all() if entry.plugin != "under-test"]
    return {entry.target.rpartition(":")[2] for entry in code if entry.kind not in ("protocol", "method")}


def test_plugins_import_public_names_alone():
    private = {"ltbench.engine", "ltbench.launch", "ltbench.recipe", "ltbench.cli", "ltbench.cell"}
    for path in (ROOT.parent / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                assert not any(module == p or module.startswith(p + ".") for p in private), f"{path}: {module}"


def test_the_engine_loop_is_short():
    assert len((ROOT / "engine" / "run.py").read_text().splitlines()) < 150


def modules_after(code: str) -> set[str]:
    ask = f"import sys\n{code}\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    return set(done.stdout.partition("MODULES ")[2].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ltbench",
        "import ltbench; ltbench.names('loss')",
        "from ltbench.cli import main; main(['list'])",
        "from ltbench.cli import main; main(['list', 'loss', '--json'])",
        "from ltbench.cli import main; main(['show', 'loss', 'ce'])",
        "from ltbench.cli import main; main(['show', 'generator', 'guided-ddpm'])",
        "from ltbench.cli import main; main(['show', 'method', 'iois'])",
    ],
)
def test_light_commands_import_nothing_heavy(code):
    heavy = {"torch", "pandas", "timm", "diffusers", "sklearn", "matplotlib", "mmengine", "scipy"}
    assert not modules_after(code) & heavy


def test_list_takes_half_a_second():
    command = [sys.executable, "-m", "ltbench.cli", "list"]
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
        if times[-1] < 0.5:
            break
    assert min(times) < 0.5


def test_every_component_of_code_is_described_and_imports():
    for entry in plugins().registry.all():
        assert entry.summary, entry.id
        assert entry.kind in KINDS
        assert entry.version >= 1


def test_inherited_options_and_made_recipes_are_described():
    registry = plugins().registry
    text = describe(registry.get("classifier", "diffmic"))
    assert "  mmd = 0.5" in text and "mmd: weight of the two discrepancies" in text
    assert "'classifier': {'name': 'diffmic'}" in describe(registry.get("method", "diffmic"))
    facts = describe(registry.get("generator", "histodiffusion"))
    assert "TIERS = {'tiny'" in facts and "options.TIERS" not in facts
