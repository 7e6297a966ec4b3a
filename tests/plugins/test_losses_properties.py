"""What every loss must hold: gradients, symmetry, limits, extremes, few classes, and clear errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import ltbench
from ltbench.errors import ContractError, UserError

COUNTS = np.array([1000, 200, 50, 5])
A, B = [0, 1, 2, 3], [0, 0, 1, 3]
FORMS = {
    "ce": ("ce", {}),
    "smooth": ("ce", {"label_smoothing": 0.1}),
    "weighted-ce": ("weighted-ce", {}),
    "weighted-ce-w": ("weighted-ce", {"rho": 0.5, "normalize": "weight"}),
    "focal": ("focal", {}),
    "focal-sigmoid": ("focal", {"activation": "sigmoid", "gamma": 0.5}),
    "cb-ce": ("cb-ce", {}),
    "cb-focal": ("cb-focal", {}),
    "cb-focal-softmax": ("cb-focal", {"activation": "softmax", "gamma": 1, "beta": 0.99}),
    "balanced-softmax": ("balanced-softmax", {}),
    "logit-adjustment": ("logit-adjustment", {"tau": 0.5}),
    "logit-adjustment-posthoc": ("logit-adjustment-posthoc", {}),
    "ldam": ("ldam", {}),
    "drw": ("drw", {}),
    "ldam-drw": ("drw", {"base": "ldam"}),
    "ohem": ("ohem", {}),
    "eql": ("eql", {"gamma": 1}),
    "eql-sigmoid": ("eql", {"activation": "sigmoid"}),
    "eqlv2": ("eqlv2", {}),
}
forms = pytest.mark.parametrize("form", FORMS)


def ready(form, counts=COUNTS, epoch=8):
    name, options = FORMS.get(form, (form, {}))
    return built(name, counts, epoch, **options)


def built(name, counts=COUNTS, epoch=8, **options):
    loss = ltbench.build("loss", name, **options)
    loss.setup(class_counts=np.asarray(counts), total_epochs=10)
    loss.on_epoch_start(epoch)
    return loss


def logits(classes=4, rows=8, seed=0):
    torch.manual_seed(seed)
    return torch.tanh(torch.randn(rows, classes, dtype=torch.float64)).requires_grad_()


@forms
def test_gradient(form):
    y = torch.tensor(A + B)
    assert torch.autograd.gradcheck(lambda z: ready(form).loss(z, y), logits())  # a new one each time: eqlv2 moves


@forms
@pytest.mark.parametrize("order", [[3, 2, 1, 0], [1, 3, 0, 2]])
def test_names_of_classes_do_not_matter(form, order):
    z, y = logits(), torch.tensor(A + B)
    swapped = ready(form, COUNTS[order]).loss(z[:, order], torch.tensor(order).argsort()[y])
    assert torch.allclose(ready(form).loss(z, y), swapped)


@forms
def test_a_doubled_batch_has_the_same_loss(form):
    z, y = logits(rows=4), torch.tensor(B)
    once, twice = ready(form).loss(z, y), ready(form).loss(torch.cat([z, z]), torch.cat([y, y]))
    if form == "ohem":  # floor(0.7 * 4) = 2 but floor(0.7 * 8) = 5
        assert twice < once
    else:  # eqlv2 too: its first batch is weighted by what was seen before, nothing
        assert torch.allclose(once, twice)


def test_a_doubled_batch_moves_eqlv2_by_the_double():
    z, y = logits(rows=4), torch.tensor(B)
    once, twice = ready("eqlv2"), ready("eqlv2")
    once.loss(z, y)
    twice.loss(torch.cat([z, z]), torch.cat([y, y]))
    assert torch.allclose(twice.state[:2], 2 * once.state[:2])
    assert torch.allclose(twice.state[2], once.state[2])


@pytest.mark.parametrize(
    ("name", "options", "counts"),
    [
        ("weighted-ce", {"rho": 0}, COUNTS),
        ("weighted-ce", {}, [7] * 4),
        ("focal", {"gamma": 0}, COUNTS),
        ("cb-ce", {"beta": 0}, COUNTS),
        ("cb-ce", {}, [7] * 4),
        ("cb-focal", {"beta": 0, "gamma": 0, "activation": "softmax"}, COUNTS),
        ("balanced-softmax", {}, [7] * 4),
        ("logit-adjustment", {"tau": 0}, COUNTS),
        ("logit-adjustment-posthoc", {}, COUNTS),
        ("ldam", {"scale": 1, "max_margin": 0}, COUNTS),
        ("drw", {}, [7] * 4),
        ("drw", {"beta": 0}, COUNTS),
        ("drw", {"switch": 1}, COUNTS),
        ("ohem", {"keep_ratio": 1}, COUNTS),
        ("eql", {"gamma": 0}, COUNTS),
        ("eql", {"threshold": 0}, COUNTS),
    ],
)
def test_limits_that_are_cross_entropy(name, options, counts):
    z, y = logits(), torch.tensor(A + B)
    ce = torch.nn.functional.cross_entropy(z, y)
    assert torch.allclose(built(name, counts, **options).loss(z, y), ce, atol=1e-10)


@forms
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_extreme_logits(form, kind):
    z = (1e4 * (2 * torch.eye(4).repeat(2, 1) - 1)).to(kind).requires_grad_()
    value = ready(form).loss(z, torch.tensor([*A, 1, 2, 3, 0]))
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


@forms
def test_half_precision_is_computed_in_float32(form):
    z = logits().detach().to(torch.bfloat16)
    y = torch.tensor(A + B)
    assert torch.equal(ready(form).loss(z, y), ready(form).loss(z.float(), y))


@forms
@pytest.mark.parametrize("counts", [[9, 1], [1, 1], [100000, 1, 1]])
def test_two_classes_and_a_class_of_one_image(form, counts):
    z = logits(len(counts), 6)
    value = ready(form, counts).loss(z, torch.arange(6) % len(counts))
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(z.grad).all()


@forms
@pytest.mark.parametrize("target", [-1, 4, -100])
def test_targets_out_of_range(form, target):
    with pytest.raises(ContractError, match=rf"targets must lie in 0\.\.3, .* got {target}"):
        ready(form).loss(logits(rows=2), torch.tensor([0, target]))


NEEDS_ALL = ["weighted-ce", "cb-ce", "cb-focal", "balanced-softmax", "logit-adjustment", "ldam", "drw"]
COUNTED = [*NEEDS_ALL, "logit-adjustment-posthoc", "eql"]


@pytest.mark.parametrize("name", [*NEEDS_ALL, "logit-adjustment-posthoc"])
def test_a_class_without_images(name):
    with pytest.raises(UserError, match=r"class 2 has no training image.*--set loss\.min_count=1"):
        built(name, [5, 3, 0, 0])
    z, y = logits(), torch.tensor(A + B)
    clamped, counted = built(name, [5, 3, 0, 0], min_count=1), built(name, [5, 3, 1, 1])
    assert torch.equal(clamped.loss(z, y), counted.loss(z, y))


@pytest.mark.parametrize("name", COUNTED)
@pytest.mark.parametrize("bad", [-1, np.nan, np.inf])
def test_impossible_counts(name, bad):
    with pytest.raises(ContractError, match=r"class 1 has .* must be finite, >= 0"):
        built(name, [5, bad, 3])
    assert ltbench.build("loss", name).uses_class_counts


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_a_wrong_shape(name):
    with pytest.raises(ContractError, match="at least 2 classes"):
        built(name, [5])
    with pytest.raises(ContractError, match="at least 2 classes"):
        built(name, [[5, 2]])


@pytest.mark.parametrize("name", [*(n for n in COUNTED if n != "logit-adjustment-posthoc"), "eqlv2"])
def test_counts_of_other_classes_than_the_logits(name):
    with pytest.raises(ContractError, match=r"4 (values|classes) for logits of 3 classes"):
        built(name).loss(logits(3), torch.zeros(8, dtype=torch.long))


def test_posthoc_adjustment_of_other_classes():
    with pytest.raises(ContractError, match="4 values for logits of 3 classes"):
        built("logit-adjustment-posthoc").adjust(logits(3))


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *[(name, "beta", beta) for name in ("cb-ce", "cb-focal", "drw") for beta in (1, 1.5, -0.1, float("nan"), "x")],
        *[(name, "normalize", "sum") for name in ("cb-ce", "cb-focal", "drw", "weighted-ce")],
        *[(name, "min_count", bad) for name in NEEDS_ALL for bad in (-1, 0.5, True)],
        ("weighted-ce", "rho", -1),
        ("weighted-ce", "rho", float("inf")),
        ("focal", "alpha", -1),
        ("focal", "alpha", [1, -1]),
        ("focal", "alpha", "x"),
        ("cb-focal", "gamma", -1),
        ("cb-focal", "activation", "tanh"),
        ("cb-focal", "probs", "tanh"),
        ("logit-adjustment", "tau", -1),
        ("logit-adjustment-posthoc", "tau", -1),
        ("ldam", "scale", 0),
        ("ldam", "scale", -30),
        ("ldam", "max_margin", -0.5),
        ("drw", "switch", 1.2),
        ("drw", "switch", -0.1),
        ("ohem", "keep_ratio", 0),
        ("ohem", "keep_ratio", 1.1),
        ("ohem", "min_keep", 0),
        ("ohem", "score", "p"),
        ("eql", "activation", "tanh"),
        ("eql", "threshold", -1),
        ("eql", "threshold", 2),
        ("eql", "gamma", 1.5),
        ("eqlv2", "gamma", 0),
        ("eqlv2", "mu", -1),
        ("eqlv2", "alpha", -1),
    ],
)
def test_bad_options(name, option, value):
    with pytest.raises(UserError, match=rf"{option} must be .*got"):
        ltbench.build("loss", name, **{option: value})


def test_alpha_of_other_classes():
    with pytest.raises(UserError, match=r"alpha has 3 values for 4 classes.*--set loss\.alpha=1"):
        built("focal", alpha=[1, 2, 3])
    with pytest.raises(ContractError, match="3 values for logits of 4 classes"):
        ltbench.build("loss", "focal", alpha=[1, 2, 3]).loss(logits(), torch.zeros(8, dtype=torch.long))


@forms
def test_numbers_per_class_move_once_and_are_not_trained(form):
    loss, z, y = ready(form), logits(), torch.tensor(A + B)
    loss.loss(z, y)
    vector = getattr(loss, "vector", None)
    if vector is not None:
        assert not vector.like(z).requires_grad
        assert vector.like(z) is vector.like(z.detach())
