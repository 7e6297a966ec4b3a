"""The documentation is true: its blocks run, its tables are those of the catalogue, its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltbench.cli import parser
from ltbench.launch import readme

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "writing-a-plugin.md"
FILE = re.compile(r"^`([\w./-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(path: Path) -> list[str]:
    """Every line of the bash blocks, comments removed."""
    lines = "".join(SHELL.findall(path.read_text())).splitlines()
    return [line.partition(" #")[0].strip() for line in lines if line.strip()]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's files, and what its `pip install` would have left."""
    folder = tmp_path_factory.mktemp("guide")
    for name, content in FILE.findall(GUIDE.read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    info = folder / "my-tail" / "my_tail-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-tail\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[ltbench]\nmy-tail = my_tail\n")
    return folder


def in_workshop(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(folder / "my-tail"), "LTBENCH_DATA": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_guide_has_one_file_for_each_kind(workshop: Path) -> None:
    names = {path.name for path in (workshop / "my-tail" / "my_tail").glob("*.py")}
    assert names == {
        "__init__.py",
        "loss.py",
        "sampler.py",
        "generator.py",
        "classifier.py",
        "methods.py",
        "tracker.py",
    }


def test_the_guide_runs(workshop: Path) -> None:
    lines = [c for c in commands(GUIDE) if c.startswith("ltbench")]
    assert len(lines) >= 10
    code = "import sys; from ltbench.cli import main; sys.exit(max(main(line.split()[1:]) for line in sys.argv[1:]))"
    done = in_workshop(workshop, sys.executable, "-c", code, *lines)  # one process: importing torch takes seconds
    assert done.returncode == 0, done.stderr
    for part in (
        "temperature = 1.5",
        "classifier mixed: its state loaded in a new process",
        "my-tail",
        "ce+loss=tempered",
    ):
        assert part in done.stdout


def test_the_guides_own_tests_pass(workshop: Path) -> None:
    done = in_workshop(workshop, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "my-tail/tests")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readmes_tables_are_those_of_the_catalogue(tmp_path: Path) -> None:
    assert readme.main(["--check"]) == 0
    old = tmp_path / "README.md"
    old.write_text("<!-- table loss -->\nnothing\n<!-- end -->\n")
    assert readme.main(["--check", "--file", str(old)]) == 1
    assert readme.main(["--file", str(old)]) == 0 and "| `ce` |" in old.read_text()
    assert readme.main(["--check", "--file", str(old)]) == 0


def test_the_readmes_tables_need_no_torch() -> None:
    code = "import sys; from ltbench.launch import readme; readme.main(['--check']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_readmes_commands_parse() -> None:
    found = [line.partition("ltbench ")[2] for line in commands(ROOT / "README.md") if "uv run ltbench" in line]
    assert len(found) >= 10
    for line in found:
        parser().parse_args(line.split())


def test_the_readmes_set_up_commands_are_whole() -> None:
    lines = commands(ROOT / "README.md")
    assert "pip install uv && uv run ltbench run --method iois --dataset digits-lt" in lines
    assert "pip install uv && uv run pytest" in lines


def test_the_readmes_python_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))])
def test_links_and_named_files_exist(path: str) -> None:
    text = (ROOT / path).read_text()
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / path).parent.joinpath(target).exists(), target
    for name in re.findall(r"`((?:ltbench|plugins|tests|benchmarks|leaderboards|docs)/[\w./-]+)`", text):
        assert (ROOT / name).exists(), name
