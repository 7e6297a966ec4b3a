"""The metric "generation" on pools whose truth is known, and the registration of the plugin."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import ltbench_metrics
import numpy as np
import pytest
from ltbench_metrics.classification import Classification
from ltbench_metrics.generation import Generation
from ltbench_metrics.pixels import nearest_ratio, resized, within_class_sd

from ltbench.errors import ContractError, UserError
from ltbench.interfaces import GenerationRecord, PredictionRecord
from ltbench.metrics import classification
from ltbench.results.files import to_json

PLUGINS = str(Path(ltbench_metrics.__file__).parents[1])
COUNTS = (120, 60, 30, 10)


def stripes(counts, rng, spread=40, size=8):
    """Images (n, size, size, 1) whose level tells the class, with noise."""
    labels = np.repeat(np.arange(len(counts)), counts)
    level = 40 + 50 * labels[:, None, None, None]
    noisy = level + rng.normal(0, spread, (len(labels), size, size, 1))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def judge(images):
    level = images.reshape(len(images), -1).mean(axis=1)
    return np.eye(4)[np.clip(np.round((level - 40) / 50), 0, 3).astype(int)]


def features(images):
    return images.reshape(len(images), -1)[:, :4] / 255.0


def record(images, labels, **changes):
    real, real_labels = stripes(COUNTS, np.random.default_rng(0))
    given = {"features": {"ref": features}, "judge": judge, "seed": 3, **changes}
    return GenerationRecord(images, labels, real, real_labels, 4, **given)


@pytest.fixture
def good():
    return stripes((40, 20, 10, 10), np.random.default_rng(1), spread=25)


def test_a_good_pool(good):
    got = Generation().compute(record(*good))
    assert got["n"] == got["n_pool"] == 80 and got["rank_deficient[ref]"] == 0.0
    assert got["target_rate"] > 0.9 and got["target_rate_tail"] > 0.9
    assert got["fd[ref]"] < 10 * got["fd_floor[ref]"] and got["fd_floor"] == got["fd_floor[ref]"] > 0
    assert got["fd_matched[ref]"] < got["fd[ref]"] + 0.05
    assert 0.4 < got["diversity_ratio"] < 1 and 0.2 < got["nearest_ratio"] < 0.7  # it varies less than the real ones
    assert got["warnings"] == [] and to_json(got) == to_json(Generation().compute(record(*good)))


def test_images_that_hardly_show_their_class_draw_a_warning(good):
    images, labels = good
    assert not any("hardly show" in w for w in Generation().compute(record(images, labels)).get("warnings", []))
    wrong = Generation().compute(record(images, (labels + 1) % 4))
    assert any("hardly show their class" in w and "chance is 0.25" in w for w in wrong["warnings"])


def test_the_target_rate_stands_beside_that_of_held_out_images_in_the_same_class_mix(good):
    held_out = np.full((12, 8, 8, 1), 90, np.uint8)  # all look like class 1
    labels = np.repeat([0, 1, 1], 4)
    got = Generation().compute(record(*good, held_out=held_out, held_out_labels=labels))
    assert got["target_rate_floor"] == pytest.approx(20 / 60)  # the pool has 40 of class 0, 20 of class 1
    assert math.isnan(Generation().compute(record(*good, held_out=held_out))["target_rate_floor"])


def test_wrong_labels_move_the_target_rate_and_not_the_distance(good):
    images, labels = good
    right, wrong = (Generation().compute(record(images, y)) for y in (labels, np.roll(labels, 40)))
    assert wrong["target_rate"] < 0.5 * right["target_rate"] and wrong["fd[ref]"] == right["fd[ref]"]


def test_tail_means_the_three_rarest_classes(good):
    images, labels = good
    wrong_head = np.where(labels[:, None, None, None] == 0, 255, images).astype(np.uint8)
    got = Generation().compute(record(wrong_head, labels))
    assert got["target_rate"] < 0.55 and got["target_rate_tail"] > 0.9 and got["target_rate_class[0]"] == 0.0


def test_noise_raises_the_distance_and_collapse_lowers_diversity(good):
    images, labels = good
    base = Generation().compute(record(images, labels))
    noise = np.random.default_rng(5).integers(0, 256, images.shape, dtype=np.uint8)
    assert Generation().compute(record(noise, labels))["fd[ref]"] > base["fd[ref]"]
    collapsed = np.stack([images[labels == c][0] for c in range(4)])[labels]
    assert Generation().compute(record(collapsed, labels))["diversity"] == 0.0


def test_copies_are_found():
    real, labels = stripes(COUNTS, np.random.default_rng(0))
    assert Generation().compute(record(real[:50], labels[:50]))["nearest_ratio"] == 1.0
    fresh, _ = stripes(COUNTS, np.random.default_rng(9))
    assert nearest_ratio(fresh, real, 0) < 0.08


def test_class_mix_is_taken_out_by_the_matched_distance():
    pool, labels = stripes((5, 5, 60, 60), np.random.default_rng(2), spread=40)
    got = Generation().compute(record(pool, labels))
    assert got["fd_matched[ref]"] < 0.2 * got["fd[ref]"]


def test_rank_deficiency_is_said(good):
    flat = {"pixels": lambda images: images.reshape(len(images), -1) / 255.0}
    images, labels = good
    got = Generation().compute(record(images[::4], labels[::4], features=flat))
    assert got["rank_deficient[pixels]"] == 1.0 and "rank deficient" in got["warnings"][0]


def test_n_is_half_the_real_images_at_most():
    pool, labels = stripes((100, 100, 100, 100), np.random.default_rng(2))
    assert Generation().compute(record(pool, labels))["n"] == 110


@pytest.mark.parametrize("n", [0, 1])
def test_tiny_pools_are_undefined_with_a_warning(good, n):
    got = Generation().compute(record(good[0][:n], good[1][:n]))
    assert math.isnan(got["fd[ref]"]) and math.isnan(got["fd_floor"]) and math.isnan(got["diversity"])
    assert math.isnan(got["target_rate"]) == (n == 0) and got["warnings"]


def test_without_judge_and_features(good):
    got = Generation().compute(record(*good, judge=None, features={}))
    assert math.isnan(got["target_rate"]) and "no judge" in got["warnings"][0] and not any("fd[" in key for key in got)


def test_real_images_are_brought_to_the_size_of_the_pool():
    real = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    small = resized(real, (4, 4, 3))
    means = real.reshape(3, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    assert np.abs(small - means).max() <= 1
    assert resized(real, (8, 8, 3)) is real and resized(real[..., :1], (16, 16, 1)).shape == (3, 16, 16, 1)
    with pytest.raises(ContractError, match="channels"):
        resized(real, (8, 8, 1))


def test_within_class_sd_equals_numpy(monkeypatch):
    monkeypatch.setattr("ltbench_metrics.pixels.CHUNK", 3)
    images, labels = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 1), dtype=np.uint8), np.r_[[0] * 10, 1]
    got = within_class_sd(images, labels, 3)
    assert got[0] == pytest.approx((images[:10] / 255).std(axis=0, ddof=1).mean())
    assert np.isnan(got[1:]).all()


def test_nearest_skips_the_image_itself_and_exact_duplicates(monkeypatch):
    monkeypatch.setattr("ltbench_metrics.pixels.CHUNK", 4)
    real = np.array([0, 0, 10, 30, 60, 100], dtype=np.uint8).reshape(-1, 1, 1, 1)
    assert nearest_ratio(np.array([[[[0]]], [[[45]]]], dtype=np.uint8), real, 0) == 0.5


def test_classification_metric_is_the_function():
    probs = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    y, counts = np.arange(20) % 3, np.array([300, 50, 5])
    got = Classification().compute(PredictionRecord(y, probs, counts))
    assert got == classification(y, probs, counts)
    assert set(Classification.higher_is_better) <= set(got)
    own = PredictionRecord(y, probs, counts, shot_groups={"scheme": "rank", "sizes": [2, 1, 0]})
    ranked = Classification().compute(own)
    assert math.isnan(ranked["few_accuracy"])


def test_both_register_lazily():
    code = (
        "import sys, ltbench_metrics; from ltbench.registry import Registry; r = Registry();"
        "ltbench_metrics.ltbench_register(r); heavy = [n for n in ('torch', 'numpy', 'pandas') if n in sys.modules];"
        "print(heavy, r.names('metric'), type(r.get('metric', 'generation').build()).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": PLUGINS})
    assert done.stdout.strip() == "[] ['classification', 'generation'] Generation", done.stderr


def test_every_measure_has_its_floor_and_n(good):
    got = Generation().compute(record(*good))
    for key in ("fd", "kd", "precision", "recall", "density", "coverage"):
        assert np.isfinite([got[f"{key}[ref]"], got[f"{key}_floor[ref]"]]).all()
    assert got["n_neighbours"] == 80 and got["n_per_class"] == [40, 20, 10, 5] and got["classes_counted"] == 2
    assert got["kd_macro[ref]"] == pytest.approx(np.mean(got["kd_per_class[ref]"][:2]))
    assert np.isfinite([got["fd_macro[ref|pca4]"], got["fd_macro_floor[ref|pca4]"]]).all()
    assert 0.9 < got["target_rate_macro"] <= 1


def test_neighbours_by_class_are_those_of_its_images_alone(good):
    images, labels = good
    whole = Generation().compute(record(images, labels))
    for key in ("precision", "recall", "density", "coverage"):
        values, floors = (np.array(whole[f"{key}_per_class{end}[ref]"]) for end in ("", "_floor"))
        assert (
            np.isfinite([values[:2], floors[:2]]).all() and np.isnan([values[2:], floors[2:]]).all()
        )  # 10 and 5 a side
    real, real_labels = stripes(COUNTS, np.random.default_rng(0))
    moved = np.where((labels == 0)[:, None, None, None], 255 - images, images)  # one class is spoilt, and it alone
    spoilt = Generation().compute(record(moved, labels))["precision_per_class[ref]"]
    assert spoilt[0] < 0.1 and spoilt[1] == whole["precision_per_class[ref]"][1] > 0.5
    rare = images.copy()
    rare[labels == 3] = real[real_labels == 3][: (labels == 3).sum()]
    copied = Generation().compute(record(rare, labels))["copy_ratio_per_class[ref]"]
    assert copied[3] == 0 and copied[:3] == whole["copy_ratio_per_class[ref]"][:3] and min(copied[:3]) > 0.5
    rates = whole["target_rate_per_class"]
    assert np.mean(rates) == pytest.approx(whole["target_rate_macro"]) and len(rates) == 4


def test_shuffled_labels_move_the_classes_and_not_the_whole(good):
    images, labels = good
    right, wrong = (Generation().compute(record(images, y)) for y in (labels, np.roll(labels, 20)))
    assert wrong["fd[ref]"] == right["fd[ref]"] and wrong["kd[ref]"] == right["kd[ref]"]
    assert wrong["fd_macro[ref|pca4]"] > 3 * right["fd_macro[ref|pca4]"]
    assert wrong["target_rate_macro"] < 0.7 * right["target_rate_macro"]


def test_a_memoriser_has_a_small_distance_and_is_flagged():
    real, labels = stripes(COUNTS, np.random.default_rng(0))
    held_out, _ = stripes((40, 20, 10, 5), np.random.default_rng(8))
    copied = Generation().compute(record(real, labels, held_out=held_out))
    assert copied["fd[ref]"] < 2 * copied["fd_floor[ref]"] and copied["copy_ratio[ref]"] == 0.0
    assert any("may be copies" in w for w in copied["warnings"])
    fresh = Generation().compute(record(*stripes(COUNTS, np.random.default_rng(9)), held_out=held_out))
    assert 0.7 < fresh["copy_ratio[ref]"] < 1.4 and not any("copies" in w for w in fresh["warnings"])


def test_a_copy_of_any_training_image_is_found(monkeypatch):
    """Also of those that the other measures leave out, having enough."""
    monkeypatch.setattr("ltbench_metrics.distances.NEIGHBOURS", 5)
    real, labels = stripes(COUNTS, np.random.default_rng(0))
    held_out, _ = stripes((40, 20, 10, 5), np.random.default_rng(8))
    some = np.random.default_rng(1).permutation(len(real))[:30]
    for known in ({"held_out": held_out}, {}):
        assert Generation().compute(record(real[some], labels[some], **known))["copy_ratio[ref]"] == 0.0


def test_growing_damage_grows_the_distances():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(4)
    images, labels = stripes((60, 30, 15, 10), rng)
    other = np.roll(images, 57, axis=0)  # of other classes, under the old labels
    noise = rng.normal(size=images.shape)

    def blurred(sigma):
        return gaussian_filter(images.astype(float), (0, sigma, sigma, 0))

    def mixed(share):
        swap = rng.permutation(len(images)) < share * len(images)
        return np.where(swap[:, None, None, None], other, images)

    series = {
        "blur": [images, blurred(0.6), blurred(1.2)],
        "noise": [images + sd * noise for sd in (0, 40, 90)],
    }
    for name, steps in series.items():
        found = [Generation().compute(record(np.clip(x, 0, 255).astype(np.uint8), labels)) for x in steps]
        for key in ("fd[ref]", "fd_macro[ref|pca4]", *(["kd[ref]"] if name == "noise" else [])):
            assert found[0][key] < found[1][key] < found[2][key], (name, key)
    rates = [Generation().compute(record(mixed(s), labels))["target_rate"] for s in (0, 0.5, 1.0)]
    assert rates[0] > rates[1] > rates[2]


def test_images_without_classes_have_overall_measures_alone(good):
    got = Generation().compute(record(good[0], np.full(80, -1)))
    assert np.isfinite([got["fd[ref]"], got["coverage[ref]"], got["nearest_ratio"]]).all()
    assert math.isnan(got["target_rate"]) and not any("per_class" in k or "macro[" in k for k in got)
    assert any("without classes" in w for w in got["warnings"])


def test_features_cannot_be_called_fid(good):
    with pytest.raises(UserError, match="must not be called so"):
        Generation().compute(record(*good, features={"fid": features}))
