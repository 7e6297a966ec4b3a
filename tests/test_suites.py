"""Suites: every file reads, names the rows of its published table, and runs; bad files are named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import ltbench
from ltbench import suites
from ltbench.cli import main
from ltbench.errors import UserError

ROOT = Path(__file__).parents[1]
FILES = sorted(p for p in (ROOT / "benchmarks").glob("*.py") if "\nrows" in p.read_text())
PAPERS = {"iois2024": "IOIS", "breast2025": "Breast", "diffmic2023": "DiffMIC", "histodiffusion2023": "HistoDiffusion"}
GOOD = 'title = "T"\nsource = "S"\nprotocol = "quick"\ndatasets = ["digits-lt"]\nseeds = "0-1"\n'


def test_there_are_suites() -> None:
    assert {"iois2024_table1", "breast2025_table1", "diffmic2023_table1a", "diffmic2023_table1b"} <= {
        p.stem for p in FILES
    }


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_suite_has_the_rows_of_its_published_table(path: Path) -> None:
    suite = suites.load(str(path))
    paper, table = suite.name.split("_")
    published = pd.read_csv(ROOT / "leaderboards" / "published" / "results.csv")
    its = published[published.paper.str.startswith(PAPERS[paper]) & (published.table.str.lower() == table)]
    assert set(suite.rows) == set(zip(its.method, its.method_id, strict=True))
    assert {method for _, method in suite.controls} <= set(ltbench.names("method"))
    shown = {*(suite.stands_for.get(name, name) for name in suite.datasets), *suite.absent}
    assert shown == set(its.dataset_id)  # every number that is printed there stands somewhere
    assert suite.protocol == paper
    assert suite.protocol in ltbench.names("protocol")
    assert set(suite.datasets) <= set(ltbench.names("dataset"))
    assert suite.split(ltbench.names("method"))[0]


def test_a_suite_runs_and_says_what_it_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").mkdir()
    rows = 'rows = [("One", "ce"), ("Two", "no-such-method")]\ncontrols = [("Again", "ce")]\n'
    (tmp_path / "benchmarks" / "mine.py").write_text(GOOD + rows)
    status = main(["sweep", "mine", "--seeds", "3", "--set", "epochs=1", "--out", "out", "--device", "cpu"])
    err = capsys.readouterr().err
    assert status == 0
    assert "left out: Two (no plugin offers method no-such-method)" in err
    frame = ltbench.load_results("out")
    assert list(zip(frame.method, frame.dataset, frame.seed, strict=True)) == [("ce", "digits-lt", 3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD, "lacks rows"),
        (GOOD + "rows = []\n", "rows must be a list"),
        (GOOD + 'rows = ["ce"]\n', "rows must be a list"),
        (GOOD + "rows = [(1, 2)]\n", "rows must be a list"),
        (GOOD + "row = []\n", "sets row, which is no field. Did you mean rows"),
        (
            GOOD + 'datasets = "aptos"\nrows = [("A", "ce")]\n',
            r"datasets must be a list of ids, such as datasets = \[\"aptos\"\], got 'aptos'",
        ),
        (GOOD + 'datasets = []\nrows = [("A", "ce")]\n', "datasets must be a list"),
        (GOOD + 'datasets = ["aptos", 3]\nrows = [("A", "ce")]\n', "datasets must be a list"),
        (GOOD + 'rows = [("A", "ce")]\nabsent = "x"\n', "absent must be a list"),
        ("rows = oops\n", "cannot be read: NameError"),
        ("def (\n", "cannot be read: SyntaxError"),
    ],
)
def test_a_bad_suite_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(UserError, match=message):
        suites.load(str(tmp_path / "bad.py"))


def test_an_unknown_suite_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"no suite file 'nope'.*iois2024_table1"):
        suites.load("nope")
    with pytest.raises(UserError, match=r"Did you mean breast2025_table1"):
        suites.load("breast2025_tabel1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no folder benchmarks/ here"):
        suites.load("nope")


def test_helpers_of_a_suite(tmp_path: Path) -> None:
    lines = 'import math\nfrom pathlib import Path\n_base = "ce"\nrows = [("One", _base)]\n'
    (tmp_path / "mine.py").write_text("from __future__ import annotations\n" + GOOD + lines)
    assert suites.load(str(tmp_path / "mine.py")).rows == (("One", "ce"),)


def test_a_suite_of_unknown_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text(GOOD + 'rows = [("One", "focall"), ("Two", "zzzzzz")]\n')
    assert main(["sweep", str(tmp_path / "mine.py")]) == 2
    err = capsys.readouterr().err
    assert "left out: One (no plugin offers method focall) Did you mean focal" in err
    assert "suite mine: every row names an unknown method" in err


@pytest.mark.parametrize(
    ("words", "got"),
    [([], "--methods;"), (["iois2024_table1", "--methods", "ce"], "got both: iois2024_table1 and --methods ce;")],
)
def test_a_sweep_needs_a_suite_or_methods(words: list[str], got: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words, "--dataset", "digits-lt"]) == 2
    err = capsys.readouterr().err
    assert "either a suite or --methods" in err and got in err


def test_a_dry_run_tells_controls_from_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = 'rows = [("One", "ce")]\ncontrols = [("Again", "ce"), ("Other", "focal")]\n'
    (tmp_path / "mine.py").write_text(GOOD + rows)
    assert main(["sweep", str(tmp_path / "mine.py"), "--seeds", "0", "--dry-run", "--out", str(tmp_path)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[:4] if "-" not in line[0]] == [
        ["kind", "method"],
        ["row", "ce"],
        ["control", "focal"],
    ]


def test_methods_need_a_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--methods", "ce"]) == 2
    assert "--dataset is missing" in capsys.readouterr().err
