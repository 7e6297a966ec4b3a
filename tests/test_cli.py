"""The command line: what a user sees, with its exit status, when all is well and when it is not."""

from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path

import numpy as np
import pytest

import ltbench
from ltbench.cli import main

RUN = ["run", "--method", "ce", "--dataset", "digits-lt", "--protocol", "quick", "--device", "cpu"]
SHORT = ["--set", "epochs=2"]


@pytest.fixture
def cli(capsys, tmp_path):
    """cli(*args): status, standard output, standard error; results go to tmp_path/runs."""

    def call(*args: str, out: str | Path | None = tmp_path / "runs"):
        status = main([*args, *(["--out", str(out)] if out else [])])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return call


def test_run_print_reuse_and_force(cli, tmp_path):
    status, out, err = cli(*RUN, *SHORT)
    assert status == 0
    assert "macro_f1" in out
    assert err.startswith("protocol quick+epochs=2; ")
    assert "341 train, 180 val, 500 test, 2 epochs on cpu" in err
    (folder,) = (tmp_path / "runs").glob("*/*/*/seed0-*")
    stamp = (folder / "result.json").stat().st_mtime_ns
    status, out, err = cli(*RUN, *SHORT, "--json")
    assert status == 0
    assert "already finished, reused" in err
    assert json.loads(out)["cell"]["protocol"] == "quick+epochs=2"
    assert (folder / "result.json").stat().st_mtime_ns == stamp
    status, _, _ = cli(*RUN, *SHORT, "--force", "--keep-model")
    assert status == 0
    assert (folder / "result.json").stat().st_mtime_ns > stamp
    assert sorted(p.name for p in folder.glob("*.pt")) == ["best.pt"]
    status, out, _ = cli("status")
    assert status == 0
    assert "digits-lt" in out
    assert cli("leaderboard", "--all")[0] == 0
    assert cli("verify", str(folder), out=None)[0] == 0


def test_dry_run_shows_every_value_with_its_origin(cli, tmp_path):
    status, out, _ = cli(*RUN, "--set", "loss=focal", "--set", "loss.gamma=1.5", "--dry-run")
    assert status == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "1.5" in lines["loss.gamma"]
    assert "--set" in lines["loss.gamma"]
    assert lines["loss.gamma"].endswith("code") or "focal" in out
    assert "protocol quick" in lines["protocol.batch_size"]
    assert "protocol quick" in lines["protocol.image_size"]
    assert lines["time"]
    assert len(lines["hash"].split()[1]) == 8
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--method", "cee"], "unknown method 'cee'. Did you mean ce"),
        (["--dataset", "digit-lt"], "unknown dataset 'digit-lt'. Did you mean digits-lt"),
        (["--protocol", "quik"], "unknown protocol 'quik'. Did you mean quick"),
        (["--method", "focal", "--set", "loss.gama=2"], "loss 'focal' has no option 'gama'. Did you mean gamma"),
        (["--set", "protocol.epoch=2"], "a protocol has no field 'epoch'. Did you mean epochs"),
        (["--set", "protocol.split_seed=1"], "protocol.split_seed=1 changes nothing for ce on digits-lt"),
        (
            ["--set", "protocol.lr=1"],
            "a protocol has no field 'lr'. Did you mean protocol.optimizer.lr? It has: augment",
        ),
        (["--set", "generators=real-copies"], "unknown key 'generators' in --set. Did you mean generator"),
        (["--set", "epochs"], "--set needs KEY=VALUE, got 'epochs'"),
        (["--method", "iois", "--set", "sampler.total=-1"], "sampler.total must be a whole number of images >= 0"),
        (["--method", "iois", "--set", "sampler.total=2.5"], "sampler.total must be a whole number of images >= 0"),
        (["--method", "iois", "--set", "sampler.ratio=-0.1"], "sampler.ratio must be a finite share"),
        (["--device", "tpu"], "unknown device 'tpu'; use auto, cpu or cuda"),
        (["--set", "backbone=resnet17"], "unknown backbone 'resnet17'"),
        (["--set", "epochs=0"], "protocol.epochs must be a whole number"),
        (["--set", "epochs=2.5"], "protocol.epochs must be a whole number"),
        (["--set", "batch_size=1"], "protocol.batch_size must be a whole number"),
        (["--set", "optimizer.lr=fast"], "protocol.optimizer.lr must be"),
        (["--set", "select=macro_f2"], "protocol.select"),
        (["--seed", "-1"], "the seed must be a whole number of at least 0, got -1"),
        (["--dataset", "aptos", "--data-root", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_exit_with_2(cli, args, text):
    chosen = [*RUN]
    status, out, err = cli(*chosen, *args)
    assert text in err
    assert err.rstrip().splitlines()[-1]
    assert status == 2
    assert "internal error" not in err
    assert out == ""
    assert len(err.splitlines()) <= 5


def test_no_cuda(cli, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, _, err = cli(*RUN, *SHORT, "--device", "cuda")
    assert (status, "torch sees no CUDA device here" in err) == (2, True)


def test_missing_data_says_where_and_how(cli, tmp_path):
    status, _, err = cli(*RUN[:3], "--dataset", "aptos", "--data-root", str(tmp_path / "none"))
    assert status == 2
    assert str(tmp_path / "none") in err
    assert "ltbench data" in err


def test_a_diverged_training_exits_with_1(cli):
    status, _, err = cli(*RUN, *SHORT, "--set", "optimizer.lr=1e9")
    assert status == 1
    assert "the training loss became" in err
    assert "--set protocol.optimizer.lr=" in err


def test_an_output_that_is_no_folder(cli, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = cli(*RUN, *SHORT, out=tmp_path / "file")
    assert status == 2
    assert f"the results folder {tmp_path / 'file'} is a file; name a folder with --out" in err


def mount(path: Path, options: bytes) -> bool:
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 1 if b"ro" in options.split(b",") else 0
    data = b",".join(o for o in options.split(b",") if o != b"ro")
    return os.geteuid() == 0 and libc.mount(b"tmpfs", str(path).encode(), b"tmpfs", flags, data) == 0


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(options): a mounted tmpfs, or a skip."""
    made = []

    def make(options: bytes) -> Path:
        path = tmp_path / "disk"
        if not mount(path, options):
            pytest.skip("mounting a file system is not allowed here")
        made.append(path)
        return path

    yield make
    for path in made:
        ctypes.CDLL(None).umount(str(path).encode())


def test_a_full_disk(cli, small_disk):
    disk = small_disk(b"size=300k")
    status, _, err = cli(*RUN, *SHORT, out=disk)
    assert status == 1
    assert "No space left on device" in err
    (folder,) = disk.glob("*/*/*/seed0-*")
    assert not (folder / "result.json").exists()
    assert not list(folder.glob("*.tmp*"))


def test_a_read_only_output(cli, small_disk):
    status, _, err = cli(*RUN, *SHORT, out=small_disk(b"ro,size=1m"))
    assert status == 1
    assert "Read-only file system" in err
    assert "choose another with --out" in err


def cell_folder(tmp_path: Path) -> Path:
    from ltbench.launch.local import plan

    overrides = {"epochs": 2}
    return plan("ce", "digits-lt", "quick", 0, overrides).cell.folder(tmp_path / "runs")


def test_a_corrupt_checkpoint(cli, tmp_path):
    folder = cell_folder(tmp_path)
    folder.mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(b"half a file")
    status, _, err = cli(*RUN, *SHORT)
    assert status == 1
    assert "checkpoint.pt cannot be read" in err
    assert "--force" in err
    assert cli(*RUN, *SHORT, "--force")[0] == 0


def test_a_foreign_checkpoint(cli, tmp_path):
    from ltbench.engine import checkpoint

    folder = cell_folder(tmp_path)
    checkpoint_owner = "f" * 64
    folder.mkdir(parents=True)
    checkpoint.save(folder / "checkpoint.pt", checkpoint_owner, {})
    status, _, err = cli(*RUN, *SHORT)
    assert status == 1
    assert "belongs to ffffffff, expected" in err


def test_stored_results_on_the_command_line(cli, tmp_path):
    runs, archive = tmp_path / "runs", str(tmp_path / "a.tar.gz")
    assert cli(*RUN, *SHORT)[0] == 0
    status, out, _ = cli("verify", str(runs), out=None)
    assert (status, out.splitlines()[-1]) == (0, "1 cell, 1 proven, 0 with problems")
    open_cell = runs / "digits-lt" / "focal" / "quick" / "seed0-00000000"
    open_cell.mkdir(parents=True)
    (open_cell / "config.json").write_text("{}")
    status, out, _ = cli("verify", str(runs), out=None)
    assert (status, out.splitlines()[-1]) == (1, "2 cells, 1 proven, 1 with problems")
    assert "the cell is unfinished" in out
    status, out, _ = cli("pack", str(runs), out=archive)
    assert (status, out.splitlines()[-1]) == (0, "1 cell packed; left out: 1 unfinished")
    assert out.startswith(f"{archive}: tar, gzipped, 0.")
    assert cli("verify", archive, out=None)[0] == 0
    (cell_folder(tmp_path) / "result.json").write_text("half")
    status, _, err = cli("leaderboard")
    assert status == 0
    assert err.startswith("warning: skipped a result: ")
    assert len(err.splitlines()) == 1
    status, _, err = cli("verify", str(tmp_path / "gone"), out=None)
    assert (status, "there is no" in err) == (2, True)


@pytest.mark.parametrize("verb", [["leaderboard"], ["compare", "ce", "focal"], ["status"]])
def test_a_results_folder_that_is_none(cli, tmp_path, verb):
    (tmp_path / "file").write_text("")
    for name, what in (("gone", "is missing"), ("file", "is a file")):
        status, _, err = cli(*verb, out=tmp_path / name)
        assert (status, f"the results folder {tmp_path / name} {what}" in err) == (2, True)


def test_an_interrupted_run_says_where_it_resumes(cli, monkeypatch):
    from ltbench.engine.run import Run

    tell, two_epochs = Run._tell, ["--set", "epochs=2"]

    def stop(run, stage, epoch, *others):
        if epoch == 1:
            raise KeyboardInterrupt
        tell(run, stage, epoch, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "_tell", stop)
        status, _, err = cli(*RUN, *two_epochs)
    assert (status, "resuming" in err) == (130, False)
    assert "resuming at epoch 2 of 2, stage train\n" in cli(*RUN, *two_epochs)[2]


def test_bare_command_lists_the_verbs(cli):
    status, _, err = cli(out=None)
    assert status == 2
    assert all(verb in err for verb in ("run", "sweep", "leaderboard", "verify"))


def test_a_result_of_a_newer_schema(cli, tmp_path):
    assert cli(*RUN, *SHORT)[0] == 0
    path = cell_folder(tmp_path) / "result.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "schema": 99}))
    status, _, err = cli(*RUN, *SHORT)
    assert status == 1
    assert "has schema 99, this ltbench reads up to" in err
    assert "upgrade ltbench" in err


def test_python_and_command_line_agree(cli, tmp_path):
    assert cli(*RUN, *SHORT)[0] == 0
    (folder,) = (tmp_path / "runs").glob("*/*/*/seed0-*")
    again = ltbench.run("ce", "digits-lt", "quick", overrides={"epochs": 2}, out=tmp_path / "other", device="cpu")
    with np.load(folder / "predictions.npz") as stored:
        assert np.array_equal(stored["probs"], again.predictions.probs)
    frame = ltbench.load_results(tmp_path / "runs")
    assert frame.loc[0, "macro_f1"] == again.metrics["macro_f1"]


def test_list_and_show(cli):
    status, out, _ = cli("list", out=None)
    assert status == 0
    assert all(f"\n{kind}\n" in "\n" + out for kind in ("loss", "method", "protocol"))
    status, out, _ = cli("list", "loss", "--json", out=None)
    assert {"ce", "focal"} <= {row["id"] for row in json.loads(out)}
    status, out, _ = cli("show", "loss", "focal", out=None)
    assert "gamma = 2.0" in out
    assert "Lin et al. 2017" in out
    status, _, err = cli("list", "losses", out=None)
    assert (status, "Did you mean loss" in err) == (2, True)
    status, _, err = cli("show", "loss", "focle", out=None)
    assert (status, "Did you mean focal" in err) == (2, True)
    status, _, err = cli("check", "nothing-such", out=None)
    assert (status, "no component is called 'nothing-such'" in err) == (2, True)


def test_sweep_skips_finished_cells(cli, tmp_path):
    sweep = ["sweep", "--methods", "ce", "focal", "--dataset", "digits-lt", "--seeds", "0-1", "--protocol", "quick"]
    status, _, _ = cli(*sweep, "--device", "cpu", "--set", "epochs=1")
    assert status == 0
    status, _, second = cli(*sweep, "--device", "cpu", "--set", "epochs=1")
    assert status == 0
    assert "nan" not in second
    assert f"table: ltbench leaderboard --out {tmp_path / 'runs'} --all\n" in second
    status, _, err = cli(*sweep[:2], "ce", *sweep[4:], "--seeds", "0", "--device", "cpu", "--set", "epochs=1")
    assert "\n1 cell: 0 computed, 1 reused" in err
    status, out, err = cli(*sweep, "--device", "cpu", "--set", "epochs=1", "--seeds", "0-2", "--dry-run")
    assert (status, err) == (0, "")
    assert out.count(" finished\n") == 4 + 1
    assert out.count(" to run\n") == 2
    assert "focal+" not in out
    assert "6 cells, 4 finished" in out
    assert "train, " not in second or second.count("reused") == 4
    for seeds, text in (
        ("a-b", "--seeds needs numbers such as 0-4"),
        ("4-0", "the empty range 4-0; write 0-4\n"),
        ("0-99999999", "100,000,000 seeds, the most is 10,000"),
    ):
        status, _, err = cli(*sweep, "--device", "cpu", "--seeds", seeds)
        assert (status, text in err) == (2, True)


def test_a_sweep_runs_each_cell_once(cli):
    sweep = ["sweep", "--methods", "ce", "ce", "--dataset", "digits-lt", "--seeds", "0,0-0", "--protocol", "quick"]
    status, _, err = cli(*sweep, "--device", "cpu", *SHORT)
    assert status == 0 and "1 cell: 1 computed, 0 reused, 0 left to other processes, 0 failed" in err


def test_the_cache_names_unfinished_fits(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("LTBENCH_CACHE", str(tmp_path))
    (tmp_path / "fits" / "0123456789").mkdir(parents=True)
    status, out, _ = cli("cache", "list", out=None)
    assert (status, out.splitlines()[2].split()) == (0, ["fit", "unfinished", "01234567", "0"])


def test_ctrl_c_exits_with_130(cli, monkeypatch):
    import ltbench.launch.local as local

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "plan", stop)
    status, _, err = cli(*RUN)
    assert (status, err) == (130, "ltbench: interrupted; the same command resumes\n")


def test_internal_errors_are_short_unless_debug(cli, monkeypatch):
    import ltbench.launch.local as local

    monkeypatch.setattr(local, "plan", lambda *a, **k: 1 / 0)
    status, _, err = cli(*RUN)
    assert status == 1
    assert "internal error, ZeroDivisionError: division by zero\nrun again with --debug and report it" in err
    with pytest.raises(ZeroDivisionError):
        main(["--debug", *RUN])


def test_a_damaged_result_is_named_and_can_be_forced(cli, tmp_path):
    one = [*RUN, "--set", "epochs=1"]
    assert cli(*one)[0] == 0
    (folder,) = (tmp_path / "runs").glob("*/*/*/seed0-*")
    predictions = folder / "predictions.npz"
    predictions.write_bytes(predictions.read_bytes()[:100])
    status, _, err = cli(*one)
    assert (status, "predictions.npz was changed after the run" in err, "--force" in err) == (1, True, True)
    for text in ("{", "{}", "[]"):
        (folder / "result.json").write_text(text)
        assert cli(*one)[0] == 1
        status, _, err = cli(*one, "--seed", "1")
        assert (status, "internal error" in err) == (0, False)
    status, _, err = cli(*one, "--force")
    assert (status, "internal error" in err) == (0, False)


def test_a_generator_that_nobody_asks_draws_a_warning(cli):
    status, _, err = cli(*RUN, "--set", "epochs=1", "--set", "generator=real-copies")
    assert status == 0
    assert "warning: generator real-copies is never used: sampler instance asks for no synthetic images" in err


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "true"])
def test_a_useless_evaluation_batch_is_refused(cli, value):
    status, _, err = cli(*RUN, "--set", f"classifier.eval_batch={value}")
    assert (status, "eval_batch must be a whole number" in err) == (2, True)
