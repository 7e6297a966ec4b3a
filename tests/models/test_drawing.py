"""Images do not depend on their neighbours; rows follow the law asked for."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from ltbench.errors import DataError, LtbenchError, NonFinite, UserError
from ltbench.models.drawing import Streams, TrainingRows, at_once, draw_images, wanted_labels
from ltbench.models.images import resize_images, to_signed, to_uint8
from ltbench.options import choice, number, whole, wholes


def test_a_stream_depends_on_class_and_index_alone():
    few, many = Streams(3, np.array([0, 1, 1])), Streams(3, np.array([1, 1, 2, 0, 0]))
    a, b = few.normal(np.arange(3), (4,), 7), many.normal(np.arange(5), (4,), 7)
    assert torch.equal(a[0], b[3]) and torch.equal(a[1:], b[:2])
    assert torch.equal(few.normal(np.array([2]), (4,), 7)[0], a[2])
    assert not torch.equal(few.normal(np.arange(3), (4,), 8), a)
    assert not torch.equal(Streams(4, np.array([0])).normal(np.array([0]), (4,), 7), a[:1])


def test_streams_are_standard_normal():
    x = Streams(0, np.zeros(400, np.int64)).normal(np.arange(400), (50,))
    assert abs(float(x.mean())) < 4 / 20000**0.5 and abs(float(x.std()) - 1) < 0.02


def test_images_do_not_depend_on_the_batch():
    streams = Streams(0, wanted_labels(np.array([3, 0, 4])))
    drawn = [
        draw_images(7, (3, 4, 4), lambda rows, attempt: streams.normal(rows, (3, 4, 4), attempt), batch=b, hint="")[0]
        for b in (1, 3, 100)
    ]
    assert all(np.array_equal(drawn[0], other) for other in drawn)


def test_unusable_images_are_drawn_again_and_then_an_error():
    calls = []

    def once(rows, attempt):
        calls.append(len(rows))
        x = torch.rand(len(rows), 1, 2, 2)
        if attempt == 0:
            x[0], x[1] = torch.nan, 0.5
        return x

    images, again = draw_images(5, (1, 2, 2), once, batch=8, hint="")
    assert calls == [5, 2] and again == 2 and images.shape == (5, 2, 2, 1)
    with pytest.raises(NonFinite, match="5 of 5 images stay constant or non-finite after 2 redraws, do this"):
        draw_images(5, (1, 2, 2), lambda rows, attempt: torch.zeros(len(rows), 1, 2, 2), batch=2, hint="do this")


def test_the_batch_is_halved_where_memory_ends():
    sizes = []

    def run(rows, attempt):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise torch.cuda.OutOfMemoryError("no")
        return torch.rand(len(rows), 1, 2, 2)

    assert len(draw_images(5, (1, 2, 2), run, batch=8, hint="")[0]) == 5
    assert sizes == [5, 2, 2, 1]

    tries = []

    def never(rows, attempt):
        tries.append(len(rows))
        raise torch.cuda.OutOfMemoryError("no")

    with pytest.raises(LtbenchError, match="does not suffice to draw a single image"):
        draw_images(5, (1, 2, 2), never, batch=8, hint="")
    assert tries == [5, 2, 1]  # and not for ever


@pytest.mark.parametrize(
    ("device", "side", "batch", "expected"),
    [("cpu", 64, 20, 8), ("cpu", 64, 5, 5), ("cpu", 8, 20, 20), ("cpu", 256, 20, 1), ("cuda", 256, 20, 20)],
)
def test_a_cpu_draws_few_large_images_at_once(device, side, batch, expected):
    assert at_once(batch, (3, side, side), torch.device(device)) == expected  # 2^15 pixels on a CPU


def test_images_are_the_same_after_memory_ended():
    streams = Streams(0, wanted_labels(np.array([3, 0, 4])))
    space = [100]

    def run(rows, attempt):
        if len(rows) > space[0]:
            raise torch.cuda.OutOfMemoryError
        x = streams.normal(rows, (1, 4, 4), attempt)
        return x if attempt else torch.where(torch.from_numpy(rows % 3 == 0).view(-1, 1, 1, 1), torch.nan, x)

    expected, again = draw_images(7, (1, 4, 4), run, batch=8, hint="")
    for space[0] in (3, 2, 1):
        images, redrawn = draw_images(7, (1, 4, 4), run, batch=8, hint="")
        assert np.array_equal(images, expected) and again == redrawn == 3


def test_memory_is_given_back_before_the_next_try(monkeypatch):
    held, alive = [], []

    def run(rows, attempt):
        if len(rows) > 1:
            big = torch.zeros(3)
            held.append(weakref.ref(big))
            raise torch.cuda.OutOfMemoryError
        return torch.rand(len(rows), 1, 2, 2)

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(held[-1]() is not None))
    draw_images(2, (1, 2, 2), run, batch=2, hint="")
    assert alive == [False]


@pytest.mark.parametrize(("power", "expected"), [(1.0, [0.9, 0.1]), (0.5, [0.75, 0.25]), (0.0, [0.5, 0.5])])
def test_training_rows_follow_the_law(power, expected):
    torch.manual_seed(0)
    labels = np.repeat([0, 1], [900, 100]).astype(np.int64)
    rows = TrainingRows(labels, ("a", "b"), power)
    seen = np.bincount(labels[rows.rows(20000).numpy()], minlength=2) / 20000
    made = np.bincount(rows.labels(20000).numpy(), minlength=2) / 20000
    assert np.allclose(seen, expected, atol=0.02) and np.allclose(made, expected, atol=0.02)


def test_training_rows_need_every_class():
    with pytest.raises(DataError, match="class 'b' has no training image"):
        TrainingRows(np.array([0, 0]), ("a", "b"))
    with pytest.raises(UserError, match=r"generator.label_power must be a number of at least 0 and at most 1, got 2"):
        TrainingRows(np.array([0]), ("a",), 2)


def test_uint8_survives_the_signed_range():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(to_uint8(to_signed(torch.from_numpy(levels).permute(0, 3, 1, 2))), levels)
    assert resize_images(levels, 8).shape == (1, 8, 8, 1) and resize_images(levels[:0], 8).shape == (0, 8, 8, 1)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: number("a.b", True), "a.b must be a number of at least 0, got True"),
        (lambda: number("a.b", float("nan"), example=2), "got nan; for example --set a.b=2"),
        (lambda: number("a.b", 0, ends="()"), "above 0"),
        (lambda: number("a.b", 1, high=1), "below 1, got 1"),
        (lambda: whole("a.b", 2.0, 1), "a whole number of at least 1, got 2.0"),
        (lambda: whole("a.b", 9, 1, 8), "at most 8"),
        (lambda: choice("a.b", "x", ("y", "z")), "one of y, z, got 'x'"),
        (lambda: wholes("a.b", [4, 0]), "a list of whole numbers of at least 1"),
        (lambda: wholes("a.b", 4), "a list of whole numbers"),
    ],
)
def test_options_are_checked(check, words):
    with pytest.raises(UserError) as error:
        check()
    assert words in str(error.value)


def test_good_options_pass():
    assert (number("a", 1), whole("a", 3, 3, 3), choice("a", "y", ("y",)), wholes("a", (2,))) == (1.0, 3, "y", [2])
