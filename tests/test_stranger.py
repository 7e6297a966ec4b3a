"""A stranger's distribution: found, checked, run, removed; a broken one beside it never stops the others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "stranger"
KINDS = ("loss", "sampler", "generator", "classifier")


def install(source: Path, site: Path) -> None:
    """What an installer leaves in site-packages: the package and its .dist-info."""
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    package = next(source.glob("ltbench_*"))
    shutil.copytree(package, site / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {target}\n" for name, target in project["entry-points"]["ltbench"].items())
    (info / "entry_points.txt").write_text(f"[ltbench]\n{points}")


def ltbench(site: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that sees `site`."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-m", "ltbench.cli", *args], env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the good and the broken distribution."""
    folder = tmp_path_factory.mktemp("site")
    install(HERE / "good", folder)
    install(HERE / "broken", folder)
    yield folder


def test_the_stranger_is_short_and_imports_nothing_of_ours_but_ltbench() -> None:
    for path in (HERE / "good").rglob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 60, path
        assert "ltbench_" not in text.replace("ltbench_stranger", "").replace("ltbench_register", ""), path


def test_the_stranger_is_listed_and_the_broken_one_named(site: Path) -> None:
    done = ltbench(site, "list")
    assert done.returncode == 0, done.stderr
    for kind in KINDS:
        assert f"stranger-{kind}" in done.stdout
    assert "left out: plugin ltbench_broken (RuntimeError: this plugin needs a library that is not here)" in done.stdout
    shown = ltbench(site, "show", "loss", "stranger-loss")
    assert shown.returncode == 0 and "power = 0.5" in shown.stdout


def test_the_stranger_conforms(site: Path) -> None:
    code = "import sys; from ltbench.cli import main; sys.exit(max(main(['check', id]) for id in sys.argv[1:]))"
    command = [sys.executable, "-c", code, *(f"stranger-{kind}" for kind in KINDS)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for kind in KINDS:
        assert done.stdout.count(f"{kind} stranger-{kind}: ") >= 3


def test_the_stranger_runs_and_goes(site: Path, tmp_path: Path) -> None:
    sets = [f"--set={kind}=stranger-{kind}" for kind in KINDS]
    command = ["run", "--method", "ce", "--dataset", "digits-lt", *sets, "--set=loss.power=0.3"]
    command += ["--set=protocol.epochs=2", "--device=cpu", "--out", str(tmp_path / "out")]
    done = ltbench(site, *command, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    recipe = record["cell"]["recipe"]
    assert [recipe[kind]["name"] for kind in KINDS] == [f"stranger-{kind}" for kind in KINDS]
    assert recipe["loss"]["power"] == 0.3
    assert record["metrics"]["generation"]["n_pool"] > 0
    alone = tmp_path / "site"
    install(HERE / "broken", alone)
    gone = ltbench(alone, *command)
    assert gone.returncode == 2 and "unknown classifier 'stranger-classifier'" in gone.stderr
    assert "Traceback" not in gone.stderr
    assert "stranger-loss" not in ltbench(alone, "list").stdout
