"""The filter against the sheets' vectors; the generator around others: nested quotas, shortfalls, one shared fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from ltbench_selective.filter import (
    CopyGuard,
    centroid_distances,
    class_centroids,
    nearest_is_target,
    ranked,
    unit_features,
)
from ltbench_selective.harvest import Harvest
from ltbench_selective.selective import Selective

from ltbench.errors import DataError, NonFinite, UserError
from ltbench.interfaces import Generator
from ltbench.launch.local import gather, open_context
from ltbench.recipe import resolve
from ltbench.testing.tiny import tiny_context, tiny_table

UNIT = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0, 0.6, 0.8]])
LABELS = np.array([0, 0, 1, 1])
CANDIDATES = {
    "a1": ((1, 0.1, 0), 0, 0.016410275403, 0.546931349855, True),
    "a2": ((0.5, 0.8, 0.1), 0, 0.148450758774, 0.122144709130, False),
    "a3": ((0.9, 0.3, 0.3), 0, 0.030310644178, 0.358790924338, True),
    "a4": ((0.1, 1, 0.3), 0, 0.385433060129, 0.015209611929, False),
    "b1": ((0, 1, 0.5), 1, 0.454447895133, 0.003715206000, True),
    "b2": ((0.7, 0.7, 0), 1, 0.067647908384, 0.222876383367, False),
    "b3": ((0, 0.2, 1), 1, 0.594110106306, 0.233916547742, True),
}


def test_the_selective_augmentation_table():
    centroids = class_centroids(UNIT, LABELS, ("A", "B"))
    assert np.allclose(centroids, [[0.9, 0.3, 0], [0, 0.8, 0.4]], atol=1e-12)
    raw = np.array([row[0] for row in CANDIDATES.values()])
    labels = np.array([row[1] for row in CANDIDATES.values()])
    distances = centroid_distances(unit_features(raw), centroids)
    assert np.allclose(distances, [row[2:4] for row in CANDIDATES.values()], atol=1e-9)
    accepted = nearest_is_target(distances, labels)
    assert accepted.tolist() == [row[4] for row in CANDIDATES.values()]
    names = np.array(list(CANDIDATES))
    assert names[ranked(distances, labels, accepted, 0)].tolist() == ["a1", "a3"]
    assert names[ranked(distances, labels, accepted, 1)].tolist() == ["b1", "b3"]


@pytest.mark.parametrize(("asked", "kept", "missing"), [(1, ["a1"], 0), (2, ["a1", "a3"], 0), (3, ["a1", "a3"], 1)])
def test_the_best_of_the_table_and_what_is_missing(asked, kept, missing):
    raw, labels = np.array([row[0] for row in CANDIDATES.values()]), np.array([row[1] for row in CANDIDATES.values()])
    distances = centroid_distances(unit_features(raw), class_centroids(UNIT, LABELS, ("A", "B")))
    harvest, images = Harvest(np.array([asked, 0])), np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    harvest.add(images, labels, distances, nearest_is_target(distances, labels), np.array([4, 0]))
    names = list(CANDIDATES)
    assert [names[image.item()] for image in harvest.kept[0]] == kept and not harvest.kept[1]
    assert harvest.short().tolist() == [missing, 0]
    notes = harvest.notes()
    assert (
        notes["missing"] == missing and notes.get("missing_class[0]", 0) == missing and "missing_class[1]" not in notes
    )


def test_the_histodiffusion_table():
    real = unit_features(np.array([[3, 4], [4, 3], [-1, 0], [-1, 1]]))
    centroids = class_centroids(real, LABELS, ("0", "1"))
    assert np.allclose(centroids, [[0.7, 0.7], [-0.853553, 0.353553]], atol=1e-6)
    raw = np.array([[1, 1], [1, 0], [0, 1], [-1, 2], [-2, 0], [2, -1]])
    distances = centroid_distances(unit_features(raw), centroids)
    expected = [
        (0.000051, 1.280330),
        (0.29, 1.780330),
        (0.29, 0.573223),
        (0.676950, 0.228828),
        (1.69, 0.073223),
        (0.676950, 1.848332),
    ]
    assert np.allclose(distances, expected, atol=1e-6)
    for_zero = nearest_is_target(distances, np.zeros(6, int))
    assert ranked(distances, np.zeros(6, int), for_zero, 0).tolist() == [0, 1, 2, 5]  # b before c: a tie, by index
    for_one = nearest_is_target(distances, np.ones(6, int))
    assert ranked(distances, np.ones(6, int), for_one, 1).tolist() == [4, 3]


def test_shrunk_centroids_lean_to_the_mean():
    centroids = class_centroids(UNIT, LABELS, ("A", "B"), shrink=2)
    assert np.allclose(centroids[0], [0.675, 0.425, 0.1], atol=1e-12)


def test_the_selected_set_does_not_depend_on_the_order():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 8)), rng.integers(0, 3, 60)
    centroids = class_centroids(unit_features(features), labels, "abc")
    order = rng.permutation(60)
    chosen = []
    for rows in (np.arange(60), order):
        distances = centroid_distances(unit_features(features[rows]), centroids)
        found = ranked(distances, labels[rows], nearest_is_target(distances, labels[rows]), 1)[:7]
        chosen.append(set(rows[found].tolist()))
    assert chosen[0] == chosen[1]


def test_a_zero_vector_stays_zero_and_nan_is_an_error():
    assert unit_features(np.zeros((1, 3))).tolist() == [[0, 0, 0]]
    with pytest.raises(NonFinite, match="features of image 1"):
        unit_features(np.array([[0, 1], [np.nan, 1]]))
    with pytest.raises(DataError, match="class 'b' has no training image"):
        class_centroids(UNIT, np.zeros(4, int), "ab")


class Mixed(Generator):
    """Training images of the wanted class; every third one is of another class under the wrong label."""

    asked: ClassVar[list[list[int]]] = []

    def __init__(self, *, wrong: float = 1 / 3) -> None:
        self.wrong = wrong

    def fit(self, table: Any, context: Any) -> None:
        self.table = tiny_table(part="val")

    def sample(self, counts: np.ndarray, *, guide: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append(counts.tolist())
        labels = np.repeat(np.arange(3), counts)
        shown = np.where(rng.random(len(labels)) < self.wrong, (labels + 1) % 3, labels)
        rows = [rng.choice(np.flatnonzero(self.table.labels == k)) for k in shown]
        noise = rng.integers(0, 3, (len(rows), 16, 16, 3))
        return (self.table.images[rows].astype(int) + noise).clip(0, 255).astype(np.uint8), labels


def selective(
    tmp_path: Any, wrong: float = 1 / 3, base: Generator | None = None, flip: bool = True, **options: Any
) -> Selective:
    made = Selective(base=base or Mixed(wrong=wrong), **options)
    context = tiny_context(
        tmp_path,
        protocol={
            "epochs": 40,
            "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0},
            "augment": {"flip": flip, "rotation": 0, "shift": 1},
        },
    )
    context.fit_generator = lambda spec: (spec.fit(context.train, context), spec)[1]
    made.fit(context.train, context)
    Mixed.asked.clear()
    return made


def draw(made: Selective, counts: list[int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return made.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))


def test_mislabelled_candidates_are_rejected(tmp_path):
    made = selective(tmp_path)
    images, labels = draw(made, [10, 0, 12])
    assert np.bincount(labels, minlength=3).tolist() == [10, 0, 12]
    true = made.distances(images).argmin(1)
    assert (true == labels).all()
    notes = made.notes()
    assert notes["kept"] == notes["asked"] == 22 and notes["missing"] == 0
    assert 0.5 < notes["accepted_rate"] < 0.85 and notes["kept_distance"] < notes["rejected_distance"]


def test_smaller_quotas_are_subsets_of_larger_ones(tmp_path):
    made = selective(tmp_path, reserve=2.0)
    small, large = draw(made, [4, 4, 4]), draw(made, [12, 12, 12])
    for k in range(3):
        few, many = small[0][small[1] == k], large[0][large[1] == k]
        assert np.array_equal(few, many[:4])
    assert Mixed.asked[0] == Mixed.asked[1] == [32, 32, 32]  # 2 x 2.0 x 24 images / 3 classes


def test_rounds_go_on_until_the_quota_is_met_or_the_limit(tmp_path, caplog):
    made = selective(tmp_path, wrong=0.8, limit=4)
    _images, labels = draw(made, [6, 6, 0])
    assert all(asked[2] == 0 for asked in Mixed.asked) and len(Mixed.asked) == 2
    missing = 12 - len(labels)
    assert missing > 0 and made.notes()["missing"] == missing
    short = {f"missing_class[{k}]": 6.0 - (labels == k).sum() for k in (0, 1) if (labels == k).sum() < 6}
    assert short == {key: value for key, value in made.notes().items() if key.startswith("missing_class")}
    assert made.notes()["rounds"] == 2
    assert "fell short" in caplog.text and "after 2 rounds" in caplog.text and "nearest centroids" in caplog.text
    assert "raise generator.limit=4, or take fewer images" in caplog.text


def test_what_to_do_about_a_shortfall(tmp_path):
    with pytest.raises(DataError, match=r"fell short.*raise generator.limit=2"):
        draw(selective(tmp_path / "a", wrong=1.0, limit=2, on_shortfall="error"), [5, 5, 5])
    filled = selective(tmp_path / "b", wrong=1.0, limit=2, on_shortfall="fill_random")
    _, labels = draw(filled, [5, 5, 5])
    assert np.bincount(labels).tolist() == [5, 5, 5] and filled.notes()["filled"] > 0


def test_only_what_may_be_needed_is_held():
    for spare in (False, True):
        harvest, images = Harvest(np.array([1, 0]), spare=spare), np.zeros((40, 4, 4, 1), np.uint8)
        distances = np.tile([[0.1, 0.2]], (40, 1))
        harvest.add(images, np.zeros(40, int), distances, np.arange(40) < 2, np.array([40, 0]))
        held = [image for part in (*harvest.kept, *harvest.rejected) for image in part]
        assert len(held) == (39 if spare else 1) and all(image.base is None for image in held)
        assert harvest.notes()["rejected_distance"] == pytest.approx(0.1) and harvest.notes()["rounds"] == 1


class Marked:
    """A judge whose probability of class 0 is the first pixel of the image in percent."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        sure = images[:, 0, 0, 0] / 100.0
        return np.stack([sure, 1 - sure, np.zeros(len(images))], axis=1)


def test_confidence_is_the_mean_over_an_image_and_where_allowed_its_mirror_image(tmp_path):
    image = np.zeros((1, 16, 16, 3), np.uint8)
    image[0, 0, 0], image[0, 0, -1] = 90, 60
    for flip, sure in ((True, 0.75), (False, 0.9)):  # a mirrored digit says nothing about the digit
        made = selective(tmp_path / str(flip), flip=flip)
        made.reference = Marked()
        assert made.confidence(image, np.array([0])) == pytest.approx([sure])
        assert made.confidence(image, np.array([1])) == pytest.approx([1 - sure])


def test_images_below_the_least_confidence_are_rejected(tmp_path, monkeypatch):
    plain, sure = selective(tmp_path / "a"), selective(tmp_path / "b", min_confidence=0.5)
    doubt = np.random.default_rng(0)
    monkeypatch.setattr(sure, "confidence", lambda images, labels: doubt.choice([0.499, 0.5], len(labels)))
    draw(plain, [8, 8, 8])
    draw(sure, [8, 8, 8])
    assert sure.notes()["accepted_rate"] == pytest.approx(0.5 * plain.notes()["accepted_rate"], abs=0.2)
    assert sure.notes()["accepted_rate"] < plain.notes()["accepted_rate"] - 0.1


class Doubtful(Marked):
    """`Marked` with the features of another judge."""

    def __init__(self, features: Any) -> None:
        self.features = features


class Marking(Mixed):
    """Images marked for `Marked`: 0.9, and 0.6 for their mirror image."""

    def sample(self, counts: np.ndarray, *, guide: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        images, labels = super().sample(counts, guide=guide, rng=rng)
        images[:, 0, 0], images[:, 0, -1] = 90, 60
        return images, labels


@pytest.mark.parametrize(("least", "kept"), [(0.0, 6), (0.7, 6), (0.8, 0)])
def test_a_mean_confidence_of_three_quarters_passes_at_07_and_not_at_08(tmp_path, least, kept):
    made = selective(tmp_path, base=Marking(wrong=0.0), min_confidence=least)
    made.reference = Doubtful(made.reference.features)
    _, labels = draw(made, [6, 0, 0])
    assert len(labels) == kept and made.notes()["missing"] == 6 - kept


def test_copies_are_those_nearer_than_unseen_images_usually_are():
    train, unseen = np.array([[0.0, 0], [1, 0]]), np.array([[0.0, 0.1], [0, 0.2], [1, 0.3], [1, 0.4]])
    guard = CopyGuard(train, unseen, 0.5)
    assert guard.floor == pytest.approx(0.25)
    found = guard.copies(np.array([[0, 0], [0, 0.24], [0, 0.26], [1, -0.2], [0.5, 0]]))
    assert found.tolist() == [True, True, False, True, False]
    assert CopyGuard(train, train, 0.01).copies(np.array([[1.0, 0], [1, 1e-9]])).tolist() == [True, False]
    with pytest.raises(DataError, match="copy guard needs validation images"):
        CopyGuard(train, unseen[:0], 0.01)


class Memoriser(Mixed):
    """Half of the images are training images as they are, the others of the distribution."""

    def fit(self, table: Any, context: Any) -> None:
        super().fit(table, context)
        self.train = table

    def sample(self, counts: np.ndarray, *, guide: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        images, labels = super().sample(counts, guide=guide, rng=rng)
        for i in range(0, len(labels), 2):
            images[i] = self.train.images[rng.choice(np.flatnonzero(self.train.labels == labels[i]))]
        return images, labels


def test_the_copy_guard_keeps_training_images_out(tmp_path):
    def run(name: str, **options: Any) -> tuple[Selective, np.ndarray, float]:
        made = selective(tmp_path / name, base=Memoriser(wrong=0.0), **options)
        images = draw(made, [8, 8, 8])[0]
        train = {image.tobytes() for image in made.inner.train.images}
        return made, images, np.mean([image.tobytes() in train for image in images])

    off, _, copied = run("off")
    assert copied > 0.2 and "copies" not in off.notes()
    on, images, copied = run("on", copy_guard=0.01)
    assert copied == 0 and len(images) > 0 and on.notes()["copies"] >= 0.4 * on.notes()["generated"]
    _, images, copied = run("filled", copy_guard=0.01, limit=2, on_shortfall="fill_random")
    assert copied == 0 and len(images) > 0  # copies do not fill a shortfall either


def test_an_option_that_came_later_changes_no_recipe_at_its_default():
    def generator(**overrides: Any) -> dict[str, Any]:
        return resolve("stylegan2-selective-50", "digits-lt", "quick", 0, overrides)[0].recipe["generator"]

    assert "copy_guard" not in generator() and generator() == generator(**{"generator.copy_guard": 0})
    assert generator(**{"generator.copy_guard": 0.01}) == {**generator(), "copy_guard": 0.01}


def test_nothing_asked_nothing_made(tmp_path):
    images, labels = draw(selective(tmp_path), [0, 0, 0])
    assert images.shape == (0, 1, 1, 3) and len(labels) == 0 and not Mixed.asked


def test_the_inner_fit_is_shared_with_cells_that_use_it_alone(tmp_path):
    base = {"name": "guided-ddpm", "train_steps": 3, "train_batch": 8, "widths": [8, 8], "steps": 2, "attention": 0}
    context = tiny_context(tmp_path, generator=base)
    alone = context.fit_generator(context.recipe["generator"])
    wrapped = tiny_context(tmp_path, generator={"name": "selective", "base": context.recipe["generator"]})
    outer = wrapped.fit_generator(wrapped.recipe["generator"])
    name = "guided-ddpm/unet"
    assert context.fits[name] == wrapped.fits[name]
    assert outer.guided and alone.guided
    assert wrapped.cost.phases[f"fit {name}"]["cached"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"oversample": 0.5}, "generator.oversample must be a number of at least 1"),
        ({"limit": 1}, "generator.limit must be a number of at least 2"),
        ({"min_confidence": 1}, "below 1"),
        ({"on_shortfall": "cry"}, "keep_fewer, error, fill_random"),
        ({"copy_guard": 1}, "generator.copy_guard must be a number of at least 0 and below 1"),
    ],
)
def test_bad_options(options, words):
    with pytest.raises(UserError, match=words):
        Selective(base="real-copies", **options)


def test_wrong_labels_are_rejected_and_unseen_real_images_are_not(tmp_path: Path) -> None:
    """Rates of the filter on digits (section 7, i and ii): labels that are not the image's, and the images' own."""
    spec = {"generator": {"name": "selective", "base": "real-copies"}}
    job = gather(spec, "digits-lt", "quick", 0, {"protocol.epochs": 15}, None, "cpu")
    context = open_context(job, tmp_path, "cpu", lambda text: None)
    generator: Any = context.fit_generator(job.cell.recipe["generator"])
    labels = context.held_out.labels
    nearest = generator.distances(context.held_out.images).argmin(1)
    wrong = (labels + np.random.default_rng(0).integers(1, 10, len(labels))) % 10
    assert (nearest == wrong).mean() < 0.1 and (nearest == labels).mean() > 0.7
