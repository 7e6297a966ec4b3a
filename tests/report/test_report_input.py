"""Bad input: broken, foreign and duplicate records are listed and left out; markup in names stays text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pagecheck import Page, problems
from stores import HOSTILE, copy, measured

from ltbench.errors import UserError
from ltbench.report import build_report
from ltbench.report.site import embedded

Change = Callable[[dict[str, Any]], None]


def damaged(**entries: Any) -> Change:
    """A change of the record: `metrics__test__confusion=None` sets record["metrics"]["test"]["confusion"]."""

    def change(record: dict[str, Any]) -> None:
        for path, value in entries.items():
            *keys, last = path.split("__")
            target = record
            for key in keys:
                target = target[key]
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (damaged(schema=99), "schema 99"),
        (damaged(cell__seed="0"), "seed is '0'"),
        (damaged(cell__method=["x"]), "method is"),
        (damaged(cell__recipe=None), "incomplete"),
        (damaged(metrics__test__confusion=None), "incomplete"),
        (damaged(metrics__test__confusion=[[1, 2], [3]]), "incomplete"),
        (damaged(metrics__test__per_class_recall=[1.0]), "per_class_recall does not have 5 classes"),
        (damaged(data__class_names=["one"]), "class_names does not have 5 classes"),
        (damaged(data__train_counts="many"), "incomplete"),
        (damaged(metrics__test=3), "lacks"),
        (damaged(selection="best"), "incomplete"),
        (damaged(cost=[1]), "incomplete"),
    ],
)
def test_a_damaged_record_is_listed_and_left_out(tmp_path: Path, change: Change, reason: str) -> None:
    copy(measured("aptos", "ce"), tmp_path / "store")
    bad = copy(measured("aptos", "sqrt"), tmp_path / "store", change)
    built = build_report([tmp_path / "store"], tmp_path / "site")
    assert built.cells == 1
    (skipped,) = built.skipped
    assert skipped.folder == str(bad) and reason in skipped.reason
    index = Page(built.index)
    assert problems(index) == []
    assert any(e.text == str(bad) for e in index.all("th"))


def test_files_that_are_cut_short_or_missing(tmp_path: Path) -> None:
    root = tmp_path / "store"
    copy(measured("aptos", "ce"), root)
    folders = [copy(measured("aptos", m), root) for m in ("sqrt", "focal", "cb-ce", "crt", "iois")]
    text = (folders[0] / "result.json").read_text()
    (folders[0] / "result.json").write_text(text[: len(text) // 2])
    (folders[1] / "result.json").unlink()
    data = (folders[2] / "predictions.npz").read_bytes()
    (folders[2] / "predictions.npz").write_bytes(data[: len(data) // 2])
    (folders[3] / "history.jsonl").write_text('{"epoch": 0, "lo')
    (folders[4] / "samples.png").unlink()
    built = build_report([root], tmp_path / "site")
    reasons = {s.folder: s.reason for s in built.skipped}
    assert set(reasons) == {str(f) for f in folders[:3]}
    assert "corrupt" in reasons[str(folders[0])] and "unfinished" in reasons[str(folders[1])]
    assert "cannot be read" in reasons[str(folders[2])]
    page = Page(next((tmp_path / "site" / "cells").glob("aptos-crt-*.html")))
    assert any("no curves" in e.text for e in page.all("li"))
    assert not Page(next((tmp_path / "site" / "cells").glob("aptos-iois-*.html"))).all("img")


def test_predictions_of_other_classes_are_refused(tmp_path: Path) -> None:
    copy(measured("aptos", "ce"), tmp_path / "store")
    other = copy(measured("aptos", "sqrt"), tmp_path / "store")
    (other / "predictions.npz").write_bytes((measured("breastmnist", "sqrt") / "predictions.npz").read_bytes())
    (skipped,) = build_report([tmp_path / "store"], tmp_path / "site").skipped
    assert "predictions have shape" in skipped.reason


def test_of_two_records_of_one_cell_the_newer_stays(tmp_path: Path) -> None:
    old, new = (copy(measured("aptos", "ce"), tmp_path / part) for part in ("one", "two"))
    record = json.loads((new / "result.json").read_text())
    (new / "result.json").write_text(json.dumps({**record, "finished": "2099-01-01T00:00:00Z"}))
    built = build_report([tmp_path / "two", tmp_path / "one", tmp_path / "two"], tmp_path / "site")
    assert built.cells == 1
    assert [s.folder for s in built.skipped] == [str(old)]


def test_other_test_images_are_not_set_beside_ce(tmp_path: Path) -> None:
    """The same conditions by their names, and images that differ."""
    import numpy as np

    root = tmp_path / "store"
    copy(measured("aptos", "ce"), root)
    other = copy(measured("aptos", "sqrt"), root)
    with np.load(other / "predictions.npz") as stored:
        columns = dict(stored)
    columns["ids"] = np.array([f"x{i}" for i in columns["ids"]])
    np.savez_compressed(other / "predictions.npz", **columns)
    build_report([root], tmp_path / "site")
    page = Page(next((tmp_path / "site" / "cells").glob("aptos-sqrt-*.html")))
    assert any("No cell of ce" in e.text for e in page.all("p"))


def test_only_broken_records_are_a_users_error(tmp_path: Path) -> None:
    copy(measured("aptos", "ce"), tmp_path / "store", damaged(schema=99))
    with pytest.raises(UserError, match="schema 99"):
        build_report([tmp_path / "store"], tmp_path / "site")


def test_markup_in_names_stays_text(hostile_site: Path) -> None:
    pages = {path.relative_to(hostile_site).as_posix(): Page(path) for path in hostile_site.rglob("*.html")}
    assert len(pages) == 6
    for name, page in pages.items():
        assert problems(page) == []  # no handler, no style, everything nests
        sources = [e.attributes.get("src", "data") for e in page.all("script")]
        assert set(sources) <= {"assets/report.js", "../assets/report.js", "assets/compare.js", "data"}
        assert sources.count("data") == (name == "compare.html")
        assert not {"b", "i", "u"} & {e.tag for e in page.elements}, name
        assert all(e.attributes["src"].endswith(".png") for e in page.all("img"))
    assert sum(len(page.all("img")) for page in pages.values()) == 1  # the samples of one cell
    cell = next(page for page in pages.values() if page.all("img"))
    assert HOSTILE["method"] in cell.all("h1")[0].text and HOSTILE["dataset"] in cell.all("h1")[0].text
    assert any(e.text == HOSTILE["class"] for e in cell.all("th"))
    assert any("<i>warned</i>" in e.text for e in cell.all("li"))
    data = next(e for e in pages["compare.html"].all("script") if e.attributes.get("type"))
    board = json.loads(data.text)["boards"][0]
    assert board["classes"][0] == HOSTILE["class"]
    assert HOSTILE["method"] in {m["name"] for m in board["methods"]}
    assert any("onerror=alert(4)" in e.text for e in pages["index.html"].all("th"))
    for path in hostile_site.rglob("*"):
        assert set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."), path


def test_embedded_json_holds_no_markup_and_keeps_its_values() -> None:
    data = {"a": ["</script><!--", "]]>", "&\u2028\u2029'", float("nan"), 1.5]}
    text = str(embedded(data))
    assert not set("<>&'\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": ["</script><!--", "]]>", "&\u2028\u2029'", None, 1.5]}
