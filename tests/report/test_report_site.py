"""The site as files: every cell has a page, links resolve, numbers are those of the records, pages are accessible."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from pagecheck import Page, problems
from stores import copy, measured

from ltbench.cli import main
from ltbench.errors import UserError
from ltbench.report import build_report
from ltbench.report.boards import boards
from ltbench.report.collect import collect
from ltbench.results.record import read_result
from ltbench.results.rows import conditions
from ltbench.results.store import load_results
from ltbench.results.tables import tables
from ltbench.results.walk import cell_folders


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in site.rglob("*.html")}


def test_every_cell_has_a_page_that_the_tables_link(store: Path, pages: dict[str, Page]) -> None:
    folders = {str(folder) for folder in cell_folders(store)}
    shown = {name: page for name, page in pages.items() if name.startswith("cells/")}
    assert len(shown) == len(folders) == 17
    assert {e.text for page in shown.values() for e in page.all("dd") if e.text in folders} == folders
    for name in ("cells.html", "index.html"):
        assert {link for link in pages[name].links if link.startswith("cells/")} == set(shown)


def test_links_and_fragments_resolve_inside_the_site(site: Path, pages: dict[str, Page]) -> None:
    count = 0
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            assert parts.scheme in ("", "data"), link
            if parts.scheme == "data":
                continue
            target = ((site / name).parent / unquote(parts.path)).resolve() if parts.path else site / name
            assert target.is_file() and target.is_relative_to(site), (name, link)
            if parts.fragment and target.name != "compare.html":
                assert parts.fragment in pages[target.relative_to(site).as_posix()].ids, (name, link)
            count += 1
    assert count > 200


def test_pages_are_well_formed_and_labelled(pages: dict[str, Page]) -> None:
    assert [problem for page in pages.values() for problem in problems(page)] == []


def test_a_leaderboard_shows_mean_and_standard_deviation(store: Path, pages: dict[str, Page]) -> None:
    records = [read_result(folder) for folder in cell_folders(store)]
    values = [r.metrics["macro_f1"] for r in records if (r.cell["dataset"], r.cell["method"]) == ("aptos", "sqrt")]
    shown = f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}"
    cells = [e for e in pages["index.html"].all("td") if e.text == shown]
    assert len(cells) == 1
    assert float(cells[0].attributes["data-value"]) == pytest.approx(100 * np.mean(values))


def test_the_released_protocol_and_its_difference_stand_beside_the_clean_one(tmp_path: Path) -> None:
    def changed(record: dict[str, Any]) -> None:
        record["cell"]["protocol"] += "-as-released"
        record["data"]["split"] = {"scheme": "released:split", "seed": 0}
        record["metrics"]["test"]["macro_f1"] += 0.02

    for seed in (0, 1):
        copy(measured("aptos", "ce", seed), tmp_path)
        copy(measured("aptos", "ce", seed), tmp_path, changed)
    copy(measured("aptos", "sqrt"), tmp_path)
    clean = next(board for board in boards(collect([tmp_path])[0]) if board.protocol == "quick")
    values = {
        line.method: dict(zip((c.heading for c in clean.columns), line.values, strict=True)) for line in clean.lines
    }
    ours = np.mean([read_result(measured("aptos", "ce", seed)).metrics["macro_f1"] for seed in (0, 1)])
    assert values["ce"]["As released"].text == f"{100 * (ours + 0.02):.2f}"
    assert values["ce"]["Ours − released"].text == "-2.00" and values["sqrt"]["As released"].text == "n/a"
    assert float(values["ce"]["Ours − released"].sort) == pytest.approx(-2)
    assert any(note.startswith("as released: the same method") for note in clean.notes)


def test_a_board_of_overridden_methods_alone_has_costs(tmp_path: Path) -> None:
    copy(measured("digits-lt", "ce"), tmp_path, lambda record: record["cell"].update(standard=False))
    board = boards(collect([tmp_path])[0])[0]
    assert [p.method for p in board.points] == ["ce"] and [p.method for p in board.best] == ["ce"]


def test_published_numbers_keep_the_mark_of_their_paper(store: Path, pages: dict[str, Page]) -> None:
    board = next(b for b in boards(collect([store])[0]) if b.dataset == "aptos")
    column = [c.heading for c in board.columns].index("Published")
    shown = {line.method: line.values[column] for line in board.lines}
    assert shown["focal"].text == "70.22 [1]" and float(shown["focal"].sort) == pytest.approx(70.22)
    assert shown["class-balanced"] == ("n/a", "")
    assert any(note.startswith("[1] IOIS-MICCAI2024") for note in board.notes)
    assert any(e.text == "70.22 [1]" for e in pages["index.html"].all("td"))


def test_a_cell_has_the_conditions_of_its_leaderboard(store: Path) -> None:
    """Also where a condition is a float, of which the two had different words."""
    for entry in collect([store])[0]:
        entry.row["imbalance"] = 20.0
        assert entry.key == conditions(entry.row) and "20" in entry.key


def test_a_cells_page_knows_direction_and_unit_of_any_metric(tmp_path: Path) -> None:
    def measured_more(record: dict[str, Any]) -> None:
        record["metrics"]["test"]["fd_macro[net.v1]"] = 2.5

    copy(measured("aptos", "ce"), tmp_path / "store", measured_more)
    build_report([tmp_path / "store"], tmp_path / "site")
    (path,) = (tmp_path / "site" / "cells").glob("*.html")
    rows = {e.text.strip() for e in Page(path).all("th")}
    assert {"fd macro[net.v1] ↓", "ece ↓, %", "macro f1, %", "nll ↓"} <= rows
    assert any(e.text == "2.5" for e in Page(path).all("td"))


def test_ranks_and_intervals_are_those_of_the_leaderboard(store: Path) -> None:
    found = {board.anchor: board for board in boards(collect([store])[0])}
    seen = 0
    for board in found.values():
        keys = [column.key for column in board.columns]
        (table,) = tables(load_results(store), dataset=board.dataset, protocol=board.protocol)
        lines = zip(table.records, table.rows, strict=True)
        rows = {record["method"]: dict(zip(table.header, line, strict=True)) for record, line in lines}
        for line in board.lines:
            values = {key: value.text for key, value in zip(keys, line.values, strict=True)}
            if line.standard:
                assert (values["rank"], values["interval"]) == (rows[line.method]["rank"], rows[line.method]["95 %"])
                seen += 1
            else:
                assert "rank" not in values or values["rank"] == values["interval"] == ""
        assert any("95 %" in note for note in board.notes) == ("rank" in keys)
    assert seen > 5


def test_recall_is_set_beside_that_of_ce_of_the_same_seed(store: Path, pages: dict[str, Page]) -> None:
    records = {(r.cell["dataset"], r.cell["method"], r.cell["seed"]): r for r in map(read_result, cell_folders(store))}
    page = next(p for name, p in pages.items() if name.startswith("cells/aptos-sqrt-quick-seed1"))
    table = next(e for e in page.all("table") if "minus ce" in e.text)
    for k, name in enumerate(records["aptos", "sqrt", 1].data["data"]["class_names"]):
        recalls = []
        for method in ("sqrt", "ce"):
            p = records["aptos", method, 1].predictions
            recalls.append(np.mean(p.probs.argmax(1)[p.y_true == k] == k))
        assert name in table.text and f"{100 * (recalls[0] - recalls[1]):+.2f}" in table.text
    ce = next(p for name, p in pages.items() if name.startswith("cells/aptos-ce-"))
    assert "minus ce" not in "".join(e.text for e in ce.all("th"))


def test_reliability_bins_add_up_to_the_calibration_error(store: Path) -> None:
    for entry in collect([store])[0]:
        bins, metrics = entry.evidence.bins, entry.result.metrics
        total = sum(b.images for b in bins)
        assert total == entry.result.data["data"]["sizes"]["test"]
        gap = sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / total
        assert gap == pytest.approx(metrics["ece"], abs=1e-6)
        assert sum(b.images * b.accuracy for b in bins) / total == pytest.approx(metrics["accuracy"])


def test_the_compare_page_holds_who_is_right(store: Path, pages: dict[str, Page]) -> None:
    import base64

    script = next(e for e in pages["compare.html"].all("script") if e.attributes.get("type") == "application/json")
    data = json.loads(script.text)
    cells = [c for b in data["boards"] for m in b["methods"] for c in m["cells"]]
    assert len(cells) == 17
    for cell in cells:
        right = np.unpackbits(np.frombuffer(base64.b64decode(cell["right"]), np.uint8))
        assert right.sum() / cell["n"] == pytest.approx(cell["scores"][3], abs=1e-6)


def test_a_method_with_synthetic_images_shows_them(site: Path, pages: dict[str, Page]) -> None:
    with_images = [name for name, page in pages.items() if page.all("img")]
    assert len(with_images) == 1 and "iois" in with_images[0]
    assert (site / with_images[0]).with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_second_report_replaces_the_first(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    build_report([store], out)
    before = set(out.rglob("*.html"))
    folder = next(f for f in cell_folders(store) if read_result(f).cell["method"] == "focal")
    assert build_report([folder], out).cells == 1
    after = set(out.rglob("*.html"))
    assert len(after) == 5 and after < before


def test_a_folder_with_other_files_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="no report"):
        build_report([store], tmp_path)
    with pytest.raises(UserError, match="is a file"):
        build_report([store], tmp_path / "notes.txt")
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_manifest_cannot_delete_outside_the_site(store: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    out = tmp_path / "site"
    out.mkdir()
    (out / "ltbench-report.json").write_text('{"files": ["../precious", 3]}')
    build_report([store], out)
    assert (tmp_path / "precious").exists()


def test_the_command_line(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(store), "--out", str(tmp_path / "site")]) == 0
    assert "17 cells in 2 leaderboards" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "absent"), "--out", str(tmp_path / "b")]) == 2
    assert "is missing" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty"), "--out", str(tmp_path / "b")]) == 2
    assert "no finished cell" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_the_index_names_methods_on_the_front(store: Path, pages: dict[str, Page]) -> None:
    records = [read_result(f).row() for f in cell_folders(store)]
    rows = [r for r in records if r["dataset"] == "breastmnist"]
    means = {
        m: [np.mean([r[k] for r in rows if r["method"] == m]) for k in ("device_seconds", "macro_f1")]
        for m in {r["method"] for r in rows}
    }
    front = {
        m for m, (c, q) in means.items() if not any(d <= c and p >= q and (d, p) != (c, q) for d, p in means.values())
    }
    board = next(e for e in pages["index.html"].all("table") if "breastmnist" in e.text)
    marked = {line.split("◆")[0].split()[-1] for line in board.text.splitlines() if "◆" in line}
    assert front and marked == front and not any(math.isnan(q) for _, q in means.values())
