from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltbench.data import cache as cache_module
from ltbench.data.cache import DataWarning, decoded
from ltbench.data.decode import decode_image, fit
from ltbench.data.trees import FolderTree
from ltbench.errors import DataError


def encode(array: np.ndarray, mode: str | None = None, suffix: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(stream, suffix)
    return stream.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)


def test_modes_become_what_the_data_set_says():
    image, remark = decode_image(encode(RGB), 9, 3)
    assert (image == RGB).all()
    assert remark == ""
    grey, _ = decode_image(encode(RGB, "L"), 9, 3)
    assert grey.shape == (9, 9, 3)
    assert (grey[..., 0] == grey[..., 1]).all()
    assert decode_image(encode(RGB), 9, 1)[0].shape == (9, 9, 1)
    assert decode_image(encode(RGB, "P"), 9, 3)[0].shape == (9, 9, 3)
    assert decode_image(encode(RGB, "CMYK", "JPEG"), 9, 3)[0].shape == (9, 9, 3)
    seen, remark = decode_image(encode(RGB, "RGBA"), 9, 3)
    assert (seen == RGB).all()
    assert "transparency" in remark


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.array([[0, 257, 32896, 65535]], dtype=np.uint16).repeat(4, 0)
    image, remark = decode_image(encode(wide), 4, 1)
    assert image[0, :, 0].tolist() == [0, 1, 128, 255]
    assert "16 bits" in remark
    assert (decode_image(encode(wide), 4, 3)[0][0, :, 1] == [0, 1, 128, 255]).all()


def test_small_gaps_are_padded_larger_ones_resized():
    image = np.full((28, 28, 1), 9, dtype=np.uint8)
    padded = fit(image, 32)
    assert (padded[2:30, 2:30] == 9).all()
    assert padded.sum() == image.sum()
    assert (fit(image, 33) == 9).all()
    assert (fit(np.full((20, 30, 3), 7, dtype=np.uint8), 30) == 7).all()
    assert fit(image, 28) is image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    for i in range(6):
        (path / f"{i}.png").write_bytes(encode(np.roll(RGB, i, 0)))
    return path


def read(folder: Path, size: int = 9) -> tuple[np.ndarray, str]:
    tree = FolderTree(folder)
    return decoded(tree, tuple(tree.images()), size, 3, "toy")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def entries(cache: Path, suffix: str) -> list[Path]:
    return sorted((cache / "tables").glob(f"*{suffix}"))


def test_second_read_maps_the_file(folder, cache, monkeypatch):
    images, content = read(folder)
    assert (images[2] == np.roll(RGB, 2, 0)).all()
    monkeypatch.setattr(cache_module, "decode_all", lambda *a: pytest.fail("decoded again"))
    again, same = read(folder)
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable
    assert (again == images).all()
    assert same == content


@pytest.mark.parametrize("damage", ["flip a byte", "truncate", "empty sidecar", "foreign sidecar"])
def test_damaged_entries_are_built_again(folder, cache, damage):
    images, content = read(folder)
    right = np.array(images)
    del images
    (array,), (facts,) = entries(cache, ".npy"), entries(cache, ".json")
    data = bytearray(array.read_bytes())
    if damage == "flip a byte":
        data[-1] ^= 1
        array.write_bytes(data)
    elif damage == "truncate":
        array.write_bytes(data[:-100])
    else:
        facts.write_text("" if damage == "empty sidecar" else '{"sha256": 1}')
    with pytest.warns(DataWarning, match="damaged"):
        again, same = read(folder)
    assert (again == right).all()
    assert same == content


def test_key_follows_content_and_size(folder, cache):
    _, first = read(folder)
    assert read(folder, 12)[1] != first
    (folder / "3.png").write_bytes(encode(255 - RGB))
    images, second = read(folder)
    assert second != first
    assert (images[3] == 255 - RGB).all()


@pytest.mark.parametrize("content", [b"", b"not an image", encode(RGB)[:60]])
def test_undecodable_files_are_named_and_counted(folder, cache, content):
    for name in ("2.png", "4.png"):
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=r"2 of 6 images .* first 2\.png"):
        read(folder)


def test_remarks_come_back_from_the_cache(folder, cache):
    (folder / "1.png").write_bytes(encode(RGB, "RGBA"))
    for _ in range(2):
        with pytest.warns(DataWarning, match="toy: 1 images with transparency"):
            read(folder)


def test_unwritable_cache_falls_back_to_memory(folder, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("LTBENCH_CACHE", str(blocked))
    with pytest.warns(DataWarning, match=r"cannot cache.*LTBENCH_CACHE"):
        images, _ = read(folder)
    assert (images[0] == RGB).all()


def test_full_disk_while_storing(folder, cache, monkeypatch):
    def full(stream, array):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module.np, "save", full)
    with pytest.warns(DataWarning, match="No space left"):
        images, _ = read(folder)
    assert (images[0] == RGB).all()
    assert not entries(cache, ".npy")
    assert not entries(cache, ".tmp")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting needs root")
def test_small_tmpfs(tmp_path, monkeypatch):
    disk, path = tmp_path / "disk", tmp_path / "pictures"
    disk.mkdir()
    path.mkdir()
    for i in range(8):
        (path / f"{i}.png").write_bytes(encode(np.roll(RGB, i, 0)))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount")
    try:
        monkeypatch.setenv("LTBENCH_CACHE", str(disk))
        with pytest.warns(DataWarning, match="cannot store"):
            images, _ = read(path, 100)
        assert images.shape == (8, 100, 100, 3)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_two_processes_decode_once(folder, cache):
    code = (
        "import sys; from pathlib import Path; import ltbench.data.cache as c\n"
        "from ltbench.data.trees import FolderTree\n"
        "real = c.decode_all\n"
        "def slow(*a):\n    import time; time.sleep(0.5); print('decoded'); return real(*a)\n"
        "c.decode_all = slow\nt = FolderTree(Path(sys.argv[1]))\n"
        "print(c.decoded(t, tuple(t.images()), 9, 3, 'toy')[0].sum())"
    )

    def start(_: int) -> str:
        command = [sys.executable, "-c", code, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(start, range(2)))
    assert sum(text.count("decoded") for text in texts) == 1
    assert texts[0].splitlines()[-1] == texts[1].splitlines()[-1]


def test_clean_images_warn_of_nothing(folder, cache):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(folder)
