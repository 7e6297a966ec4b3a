"""`ltbench generate` and `ltbench score` through the command line, from the fit to the table."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltbench.cli import main
from ltbench.errors import DataError, UserError
from ltbench.launch.generate import Counts, class_folders
from ltbench.launch.pictures import read_pictures
from ltbench.launch.score import MEANING, Scores
from ltbench.results.files import null_to_nan

SHORT = ["--protocol", "quick", "--device", "cpu", "--set", "epochs=3"]
TINY = [
    *("--set", "generator.train_steps=4", "--set", "generator.steps=2", "--set", "generator.widths=[8,16]"),
    *("--set", "generator.train_batch=8"),
]

FACTS = dict.fromkeys(("images", "against", "floor", "extractors"), "")


@pytest.fixture
def cli(capsys):
    def call(*args):
        status = main([str(a) for a in args])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err and "internal error" not in captured.err
        return status, captured.out, captured.err

    return call


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    out = tmp_path_factory.mktemp("copies") / "images"
    wanted = ["--generator", "real-copies", "--dataset", "digits-lt", "--count", "20", "--seed", "4"]
    assert main(["generate", *wanted, *SHORT, "--out", str(out)]) == 0
    return out


def test_copies_are_written_with_their_origin(copies):
    lines = list(csv.DictReader((copies / "manifest.csv").open()))
    assert list(lines[0]) == ["file", "label", "class", "generator", "seed", "index", "fit"]
    assert len(lines) == 200 and {line["generator"] for line in lines} == {"real-copies"}
    assert all((copies / line["file"]).is_file() for line in lines) and lines[0]["seed"] == "4"
    about = json.loads((copies / "manifest.json").read_text())
    assert about["asked"] == about["kept"] == [20] * 10 and about["recipe"]["generator"]["name"] == "real-copies"
    assert about["versions"]["generator:real-copies"] and about["environment"]["packages"]["torch"]


def test_copies_are_scored_and_found_out(cli, copies):
    status, out, _ = cli("score", copies, "--against", "digits-lt", *SHORT, "--extractor", "reference", "--json")
    assert status == 0
    found = json.loads(out)
    m, name = found["metrics"], "guide-small_cnn"
    assert m["n"] == 170 and m["n_pool"] == 200 and m[f"copy_ratio[{name}]"] == 0 and m["nearest_ratio"] == 1
    for key in ("fd", "kd", "precision", "recall", "density", "coverage"):
        assert np.isfinite([m[f"{key}[{name}]"], m[f"{key}_floor[{name}]"]]).all()
    assert m["classes_counted"] == 3 and m["target_rate_macro"] > 0.2
    assert any("may be copies" in note for note in found["notes"])
    assert found["origin"]["generator"] == "real-copies" and "two disjoint random halves" in found["floor"]


def test_the_table_names_n_floor_and_features(cli, copies, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(copies.glob("*/*.png"))[::4]:
        (flat / path.name).write_bytes(path.read_bytes())
    status, out, _ = cli("score", flat, "--against", "digits-lt", *SHORT, "--extractor", "pca64-pixels")
    assert status == 0
    head, _, first = out.splitlines()[:3]
    assert head.split() == ["measure", "features", "value", "floor", "n"]
    assert first.split()[:2] == ["fd", "pca64-pixels"] and first.split()[-1] == "50"
    assert "without classes" in out and "per_class" not in out and "guide-small_cnn" not in out
    assert "against: training part of digits-lt, protocol quick+epochs=3, 341 images" in out
    for name in ("fd", "fd_matched", "kd", "precision", "coverage", "copy_ratio", "nearest_ratio"):
        assert out.count(f"\n{name}: ") == 1, name
    assert "each in its own class mix" in out and "weighted to the class mix of the images" in out
    assert "fd_macro:" not in out  # only what the table shows


def test_the_words_of_fid_are_those_of_the_frechet_distance():
    table = Scores({"n": 8.0, "n_pool": 9.0, "fid[x]": 1.5, "fid_matched[x]": 2.5, "kid[x]": 0.5}, FACTS, ()).table()
    assert f"fid: {MEANING['fd']}" in table and f"fid_matched: {MEANING['fd_matched']}" in table
    assert f"kid: {MEANING['kd']}" in table


def test_a_guided_generator_is_steered_and_repeats_itself(cli, tmp_path):
    def made(name, *more):
        out = tmp_path / name
        wanted = ["--generator", "guided-ddpm", "--dataset", "digits-lt", "--counts", "3,0,2,0,0,0,0,0,0,1"]
        status, text, _ = cli("generate", *wanted, *SHORT, *TINY, *more, "--out", out)
        assert status == 0 and text.startswith("asked 6 images, kept 6")
        pixels = [np.asarray(Image.open(path)) for path in sorted(out.glob("*/*.png"))]
        return np.stack(pixels), json.loads((out / "manifest.json").read_text())

    first, about = made("a")
    again, _ = made("b")
    other, _ = made("c", "--seed", "1")
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert about["guide"] == "guide-small_cnn" and about["kept"] == [3, 0, 2, 0, 0, 0, 0, 0, 0, 1]
    assert set(about["fits"]) == {"guided-ddpm/unet", "reference-guide/epochs"} and "saturated" in about["notes"]
    status, out, _ = cli("score", tmp_path / "a", "--against", "digits-lt", *SHORT, "--json")
    assert status == 0 and json.loads(out)["metrics"]["n"] == 6


def test_a_generator_wraps_another(cli, tmp_path, caplog):
    wanted = ["--generator", "selective", "--set", "generator.base=ddpm", "--dataset", "digits-lt", "--count", "2"]
    tiny = [part.replace("generator.", "generator.base.") for part in TINY]
    few = ["--set", "generator.limit=2", *SHORT]
    status, text, _ = cli("generate", *wanted, *tiny, *few, "--out", tmp_path / "out")
    about = json.loads((tmp_path / "out" / "manifest.json").read_text())
    kept = sum(about["kept"])
    assert status == 0 and text.startswith(f"asked 20 images, kept {kept}") and about["asked"] == [2] * 10
    assert set(about["fits"]) == {"ddpm/unet", "reference-guide/epochs"}
    assert about["notes"]["generated"] == 40 and about["notes"]["missing"] == 20 - kept
    assert len(list((tmp_path / "out").glob("*/*.png"))) == kept and (
        kept == 20 or "selection fell short" in caplog.text
    )
    strict = ["--set", "generator.on_shortfall=error", "--set", "generator.min_confidence=0.999"]
    status, _, err = cli("generate", *wanted, *tiny, *few, *strict, "--out", tmp_path / "strict")
    assert status != 0 and "selection fell short" in err and "raise generator.limit=2" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--generator", "real-copies"], "how many images?"),
        (["--generator", "real-copies", "--count", "1", "--total", "5"], "or --total N, not --count and --total"),
        (["--generator", "real-copies", "--counts", "1,2"], "--counts names 2 classes, the data set has 10"),
        (["--generator", "real-copies", "--counts", "a"], "--counts needs whole numbers"),
        (["--generator", "real-copies", "--count", "0"], "--count must be at least 1, got 0"),
        (["--generator", "real-copies", "--count", "-2"], "--count must be at least 1, got -2"),
        (["--generator", "real-copies", "--total", "-3"], "--total must be at least 1, got -3"),
        (
            ["--generator", "real-copies", "--counts=-1,2,0,0,0,0,0,0,0,0"],
            "at least 0 and one above, 10,000,000 in all, got [-1, 2",
        ),
        (["--generator", "real-copies", "--counts=0,0,0,0,0,0,0,0,0,0"], "at least 0 and one above"),
        (["--generator", "ddpm", "--count", "1", "--set", "generator=real-copies"], "contradicts --generator ddpm"),
        (["--generator", "real-copies", "--count", "1", "--set", "loss=focal"], "--set loss changes nothing here"),
        (["--generator", "real-copies", "--count", "1", "--set", "sampler.n=1"], "--set sampler.n changes nothing"),
        (["--generator", "real-copie", "--count", "1"], "unknown generator 'real-copie'. Did you mean real-copies"),
    ],
)
def test_mistakes_of_generate(cli, tmp_path, args, text):
    status, _, err = cli("generate", "--dataset", "digits-lt", *args, *SHORT, "--out", tmp_path / "new")
    assert status == 2 and text in err and not (tmp_path / "new").exists()


def test_a_full_folder_is_left_alone(cli, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    wanted = ["--generator", "real-copies", "--dataset", "digits-lt", "--count", "1"]
    status, _, err = cli("generate", *wanted, *SHORT, "--out", tmp_path)
    assert status == 2 and "not an empty folder" in err and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_cannot_be_written_is_found_before_the_fit(cli, tmp_path):
    (tmp_path / "file").write_text("")
    wanted = ["--generator", "guided-ddpm", "--dataset", "digits-lt", "--count", "1"]
    status, _, err = cli("generate", *wanted, *TINY, *SHORT, "--out", tmp_path / "file" / "new")
    assert status == 1 and "cannot be written (Not a directory); choose another with --out" in err
    assert "fit guided-ddpm" not in err


class Killed(BaseException):
    """In place of kill -9 while files are written."""


def test_a_call_killed_while_it_writes_is_made_again(cli, tmp_path, monkeypatch):
    wanted = ["generate", "--generator", "real-copies", "--dataset", "digits-lt", "--count", "2", *SHORT, "--out"]
    assert cli(*wanted, tmp_path / "whole")[0] == 0
    save, saved = Image.Image.save, []

    def die(self, *rest):
        saved.append(save(self, *rest))
        if len(saved) == 7:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", die)
        with pytest.raises(Killed):
            cli(*wanted, tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [".unfinished"]
    with pytest.raises(DataError, match="holds no image"):  # what is not finished is not measured
        read_pictures(tmp_path / "killed", ("a", "b"), 8, 1)
    assert cli(*wanted, tmp_path / "killed")[0] == 0
    files = [
        {path.relative_to(tmp_path / name).as_posix(): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("whole", "killed")
    ]
    assert len(files[0]) == 22 and files[0].keys() == files[1].keys()
    assert all(files[1][name] == content for name, content in files[0].items() if name != "manifest.json")


def test_a_call_killed_in_its_fit_is_made_again(cli, tmp_path):
    long = ["--set", "generator.train_steps=40", *TINY[2:], *SHORT]
    wanted = ["generate", "--generator", "guided-ddpm", "--dataset", "digits-lt", "--count", "1", *long, "--out"]
    command = [sys.executable, "-m", "ltbench.cli", *wanted, str(tmp_path / "killed")]
    cache = {"LTBENCH_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(command, env={**os.environ, **cache}, stderr=subprocess.PIPE, text=True)
    assert any("fit guided-ddpm/unet: 40 steps" in line for line in process.stderr)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "killed").exists()
    again = subprocess.run(command, env={**os.environ, **cache}, capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout.startswith("asked 10 images, kept 10"), again.stderr
    assert cli(*wanted, tmp_path / "whole")[0] == 0
    both = [[path.read_bytes() for path in sorted((tmp_path / n).glob("*/*.png"))] for n in ("killed", "whole")]
    assert len(both[0]) == 10 and both[0] == both[1]


def test_a_fit_without_memory_says_so(cli, tmp_path, monkeypatch):
    import torch
    from ltbench_diffusion.unet import UNetTraining

    def full(self, *rest):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(UNetTraining, "step", full)
    wanted = ["--generator", "guided-ddpm", "--dataset", "digits-lt", "--count", "1", "--set", "generator.lr=1e-5"]
    status, _, err = cli("generate", *wanted, *TINY, *SHORT, "--out", tmp_path / "out")
    assert status == 1 and "memory does not suffice (CUDA out of memory. Tried" in err and "train_batch" in err
    assert "internal error" not in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({}, "how many images"),
        ({"count": 1, "total": 1}, "not --count and --total"),
        ({"count": 0}, "--count must be at least 1, got 0"),
        ({"total": np.int64(-1)}, "--total must be at least 1, got -1"),
        ({"counts": "1,x"}, "whole numbers such as 10,10,50, got '1,x'"),
        ({"counts": "0,0"}, r"at least 0 and one above, 10,000,000 in all, got \[0, 0\]"),
        ({"counts": "-1,3"}, "at least 0"),
        ({"count": 2**63}, "10,000,000 in all"),
        ({"counts": f"1,{2**70}"}, "10,000,000 in all"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_loaded(wanted, text):
    with pytest.raises(UserError, match=text):
        Counts(**wanted)


def test_what_is_no_folder_cannot_be_filled(cli, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", Path(os.devnull)):
        wanted = ["--generator", "real-copies", "--dataset", "digits-lt", "--count", "1"]
        status, _, err = cli("generate", *wanted, *SHORT, "--out", out)
        assert status == 2 and f"{out} is no folder; name a new one with --out" in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_total_follows_the_class_mix():
    counts = np.array([60, 30, 10])
    assert Counts(total=10).resolve(counts).tolist() == [6, 3, 1]
    assert Counts(total=7).resolve(counts).sum() == 7


def test_class_folders_are_safe_and_distinct():
    assert class_folders(("nevus", "a/b", "a b", "..")) == ["nevus", "1_a_b", "2_a_b", "3_"]


def write(folder: Path, name: str, shape=(8, 8)) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)


def test_sizes_that_differ_are_resized_with_a_note(tmp_path):
    write(tmp_path, "a/1.png")
    write(tmp_path, "1/2.png", (12, 12))
    found = read_pictures(tmp_path, ("a", "b"), 8, 1)
    assert found.images.shape == (2, 8, 8, 1) and found.labels.tolist() == [1, 0] and "2 sizes" in found.notes[0]


@pytest.mark.parametrize(
    ("files", "channels", "text"),
    [
        ({}, 1, "holds no image"),
        ({"a/1.png": (8, 8)}, 1, "holds 1 image; a measure needs at least 2"),
        ({"a/1.png": (8, 8), "c/2.png": (8, 8)}, 1, "no classes of the data set: c; the classes are a, b"),
        ({"a/1.png": (8, 8), "2.png": (8, 8)}, 1, "1 images beside its class folders, first 2.png"),
        ({"a/1.png": (8, 8), "a/2.png": (8, 8)}, 3, "the data set is colour, 2 of 2 images .* are grey"),
        ({"a/1.png": (8, 8, 3), "a/2.png": (8, 8)}, 1, "the data set is grey, 1 of 2 images .* are colour"),
    ],
)
def test_folders_that_cannot_be_measured(tmp_path, files, channels, text):
    for name, shape in files.items():
        write(tmp_path, name, shape)
    with pytest.raises(DataError, match=text):
        read_pictures(tmp_path, ("a", "b"), 8, channels)


def test_undecodable_files_and_missing_folders_are_named(cli, tmp_path):
    write(tmp_path, "1.png")
    (tmp_path / "2.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"2\.png"):
        read_pictures(tmp_path, ("a", "b"), 8, 1)
    with pytest.raises(UserError, match="is no folder"):
        read_pictures(tmp_path / "nowhere", ("a", "b"), 8, 1)
    status, _, err = cli("score", tmp_path / "nowhere", "--against", "digits-lt", *SHORT)
    assert status == 2 and "is no folder" in err


def test_truncated_and_empty_files_are_named(cli, tmp_path):
    for i in range(3):
        write(tmp_path, f"{i}.png")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "2.png").write_bytes(b"")
    status, _, err = cli("score", tmp_path, "--against", "digits-lt", *SHORT)
    assert status == 2 and "2 of 3 images" in err and "first 1.png" in err and "labels.csv" not in err
    assert "delete these files, or make them again" in err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--against", "digit-lt"], "unknown dataset 'digit-lt'. Did you mean digits-lt?"),
        (["--against", "digits-lt", "--extractor", "pca"], "unknown extractor 'pca'; there are: reference"),
        (["--against", "digits-lt", "--extractor", "tv-resnet18:/no"], "weights file '/no' does not exist"),
        (["--against", "digits-lt", "--extractor", "fid:/no.pth"], "Inception weights '/no.pth' do not exist"),
    ],
)
def test_mistakes_of_score(cli, tmp_path, args, text):
    if "fid" in args[-1]:
        pytest.importorskip("torch_fidelity")
    write(tmp_path, "1.png")
    write(tmp_path, "2.png")
    status, _, err = cli("score", tmp_path, *args, *SHORT)
    assert status == 2 and text in err


@pytest.mark.parametrize(("n", "classes"), [(2, False), (3, False), (3, True), (4, False), (6, False)])
def test_a_few_images_are_measured_as_far_as_they_go(cli, tmp_path, n, classes):
    for i in range(n):
        write(tmp_path, f"{i % 2}/{'x' * (i + 1)}.png" if classes else f"{'x' * (i + 1)}.png")
    status, out, _ = cli("score", tmp_path, "--against", "digits-lt", *SHORT, "--extractor", "pca64-pixels", "--json")
    found = json.loads(out)
    m = null_to_nan(found["metrics"])
    assert status == 0 and m["n"] == n and np.isfinite([m["fd[pca64-pixels]"], m["fd_floor[pca64-pixels]"]]).all()
    assert np.isfinite(m["precision[pca64-pixels]"]) == (n > 3) and np.isfinite(m["coverage[pca64-pixels]"]) == (n > 5)
    notes = " ".join(found["notes"])
    assert "failed" not in notes and (f"undefined at n = {n}, in brackets the least" in notes) == (n < 6)


def test_nothing_measured_is_an_error(cli, tmp_path, monkeypatch):
    from ltbench_metrics.generation import Generation

    def fails(self, record):
        raise ValueError("no")

    monkeypatch.setattr(Generation, "compute", fails)
    write(tmp_path, "1.png")
    write(tmp_path, "2.png")
    status, out, err = cli("score", tmp_path, "--against", "digits-lt", *SHORT, "--extractor", "pca64-pixels")
    assert status == 1 and not out and "nothing could be measured; " in err and "ValueError: no" in err
