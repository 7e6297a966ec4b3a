"""SynClass: sketches, the sketch branch, pixels and latents, bad input, and the extractors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_support import SMALL, draw, fit_with_a_kill, fitted
from hypothesis import given, settings
from hypothesis import strategies as st
from ltbench_diffusion.schedules import alphas_cumprod
from ltbench_diffusion.unet import build_unet
from ltbench_rlcas import edges
from ltbench_rlcas.pidinet import PiDiNet, difference_kernel
from ltbench_rlcas.sketch import SketchDecoder, SketchedUNet, sketch_loss
from torch.nn import functional as F

import ltbench
from ltbench.errors import ContractError, DataError, UserError
from ltbench.testing import tiny_context

AE: dict[str, Any] = {"autoencoder": "kl", "ae_widths": [8, 8], "ae_steps": 3, "ae_batch": 4}


def unet(size: int = 16, widths: Any = (8, 8, 16), blocks: int = 1) -> Any:
    return build_unet(size=size, channels=3, widths=widths, blocks=blocks, attention=4, num_classes=4)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.999950, 0.946119, 0.722096, 0.278921, 0.057447, 0.006353]),
        ("scaled-linear", [0.999575, 0.945634, 0.820849, 0.525674, 0.237002, 0.068265]),
    ],
)
def test_signal_of_the_schedules(schedule: str, expected: list[float]) -> None:
    root = alphas_cumprod(schedule).sqrt()
    assert root[[0, 100, 250, 500, 750, 999]].tolist() == pytest.approx(expected, abs=5e-7)


def test_sketch_loss() -> None:
    predicted = torch.tensor([[[[0.2, 0.8], [0.5, 1]]], [[[0, 0], [1, 0]]]], dtype=torch.float64)
    target = torch.tensor([[[[0, 1], [1, 1]]], [[[0, 0], [1, 1]]]], dtype=torch.float64)
    abar = alphas_cumprod("linear")[[100, 500]]
    assert float(sketch_loss(predicted, target, abar)) == pytest.approx(0.14130348, abs=5e-9)
    wrong = float(abar.sqrt().mean()) * float((predicted - target).abs().mean())  # the mean of each before the product
    assert wrong == pytest.approx(0.14547347, abs=5e-9)
    assert 0.1 * float(sketch_loss(predicted, target, abar)) == pytest.approx(0.01413035, abs=5e-9)
    assert float(sketch_loss(predicted[:1], target[:1], torch.ones(1))) == pytest.approx(0.225)
    assert float(sketch_loss(predicted[1:], target[1:], torch.ones(1))) == pytest.approx(0.25)
    with pytest.raises(ContractError, match=r"sketches have shape \(2, 1, 1, 2\), predicted are \(2, 1, 2, 2\)"):
        sketch_loss(predicted, target[:, :, :1], abar)


def test_sobel_of_a_step() -> None:
    step = np.tile([0.0, 0, 1, 1], (4, 1))[None]
    assert np.hypot(*edges.gradients(step)).tolist() == [[[0, 4, 4, 0]] * 4]
    assert edges.sobel(step, 0.0).tolist() == [[[0, 1, 1, 0]] * 4]
    assert (edges.sobel(np.full((2, 8, 8), 0.3), 1.0) == 0).all()
    several = np.random.default_rng(0).random((3, 7, 9))
    alone = np.concatenate([edges.sobel(x[None], 1.0) for x in several])
    assert edges.sobel(several, 1.0) == pytest.approx(alone, abs=1e-12)  # a picture does not see its neighbours
    across = sum(w * (several[1, 3 + i, 5] - several[1, 3 + i, 3]) for i, w in ((-1, 1), (0, 2), (1, 1)))
    assert edges.gradients(several)[1][1, 3, 4] == pytest.approx(across)


def test_gradients_are_those_of_opencv() -> None:
    import cv2

    x = np.random.default_rng(0).random((2, 9, 12))
    for picture, down, across in zip(x, *edges.gradients(x), strict=True):
        border = {"ksize": 3, "borderType": cv2.BORDER_REPLICATE}
        assert down == pytest.approx(cv2.Sobel(picture, cv2.CV_64F, 0, 1, **border))
        assert across == pytest.approx(cv2.Sobel(picture, cv2.CV_64F, 1, 0, **border))


def test_canny_agrees_with_scikit_image() -> None:
    """Up to a pixel: the ridge is found along one of eight directions here, between pixels there."""
    feature = pytest.importorskip("skimage.feature")
    from scipy.ndimage import binary_dilation

    x = edges.blurred(np.random.default_rng(0).random((4, 40, 40)), 3.0) * 6
    ours = edges.canny(x, 1.0) > 0
    for mine, picture in zip(ours, x, strict=True):
        other = feature.canny(picture, sigma=1.0, low_threshold=0.1, high_threshold=0.2, mode="nearest")
        near = [binary_dilation(e, np.ones((3, 3))) for e in (mine, other)]
        inside = np.s_[2:-2, 2:-2]  # it leaves the border out
        assert (near[1] & mine)[inside].sum() > 0.95 * mine[inside].sum() > 20
        assert (near[0] & other)[inside].sum() > 0.95 * other[inside].sum()


def test_canny_draws_thin_lines_and_leaves_weak_ones_out() -> None:
    step = np.zeros((1, 16, 16))
    step[:, :, 8:] = 0.5
    assert edges.canny(step, 1.0)[0].sum(1).tolist() == [1] * 16
    assert edges.canny(step.transpose(0, 2, 1), 1.0)[0].sum(0).tolist() == [1] * 16
    assert (edges.canny(step * 0.04, 1.0) == 0).all()  # the largest gradient is below 0.1
    blob = np.hypot(*np.mgrid[-8:8, -8:8]) < 5
    ring = edges.canny(blob[None].astype(float), 1.0)[0] > 0
    radius = np.hypot(*np.mgrid[-8:8, -8:8])[ring]
    assert 20 <= ring.sum() <= 44 and radius.min() > 3 and radius.max() < 7


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["sobel", "canny"]), st.sampled_from([1, 3]), st.floats(0, 2))
def test_sketches_lie_in_the_unit_interval_and_mirror_with_the_image(
    seed: int, name: str, channels: int, sigma: float
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (2, 9, 12, channels)).astype(np.uint8)
    extractor = edges.build_edges(name, sigma=sigma, path=None, device=torch.device("cpu"))
    found = extractor.run(images)
    assert found.shape == (2, 9, 12) and found.min() >= 0 and found.max() <= 1
    if name == "sobel":  # canny settles ties to one side
        assert extractor.run(images[:, :, ::-1])[:, :, ::-1] == pytest.approx(found, abs=1e-9)


def test_difference_kernels_are_what_they_are_called() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(2, 1, 3, 3, dtype=torch.float64), torch.randn(1, 1, 9, 9, dtype=torch.float64)

    def at(kind: str, y: int, x_: int) -> torch.Tensor:
        kernel = difference_kernel(weight, kind)
        return F.conv2d(x, kernel, padding=kernel.shape[2] // 2)[0, :, y, x_]

    p = x[0, 0]
    central = sum(weight[:, 0, i, j] * (p[3 + i, 3 + j] - p[4, 4]) for i in range(3) for j in range(3))
    assert torch.allclose(at("central", 4, 4), central)
    ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]  # clockwise
    angular = sum(
        weight[:, 0, 1 + y, 1 + x_] * (p[4 + y, 4 + x_] - p[4 + ring[(k + 1) % 8][0], 4 + ring[(k + 1) % 8][1]])
        for k, (y, x_) in enumerate(ring)
    )
    assert torch.allclose(at("angular", 4, 4), angular)
    order = [(y, x_) for y in (-1, 0, 1) for x_ in (-1, 0, 1) if (y, x_) != (0, 0)]
    radial = sum(
        weight.flatten(1)[:, k] * (p[4 + 2 * y, 4 + 2 * x_] - p[4 + y, 4 + x_]) for k, (y, x_) in enumerate(order, 1)
    )
    assert torch.allclose(at("radial", 4, 4), radial)
    assert difference_kernel(weight, "plain") is weight


def test_pidinet_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = PiDiNet()
    state = {f"module.{name}": value for name, value in net.state_dict().items()}
    path = tmp_path / "table5_pidinet.pth"
    torch.save({"state_dict": state}, path)
    extractor = edges.build_edges("pidinet", sigma=1.0, path=str(path), device=torch.device("cpu"))
    images = np.random.default_rng(0).integers(0, 256, (3, 21, 16, 1)).astype(np.uint8)
    found = extractor.run(images)
    assert found.shape == (3, 21, 16) and 0 <= found.min() < found.max() <= 1
    assert extractor.run(images.repeat(3, 3)) == pytest.approx(found, abs=1e-5)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(710_000, rel=0.01)  # 0.71 M in the paper's table 5
    other = PiDiNet()
    torch.save(other.state_dict(), tmp_path / "other.pth")
    foreign = edges.build_edges("pidinet", sigma=1.0, path=str(tmp_path / "other.pth"), device=torch.device("cpu"))
    assert foreign.facts != extractor.facts
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(DataError, match="does not hold PiDiNet with 60 channels"):
        edges.build_edges("pidinet", sigma=1.0, path=str(path), device=torch.device("cpu"))


@pytest.mark.parametrize(("factor", "widths"), [(1, (8,)), (1, (8, 8, 16)), (8, (8, 16))])
def test_the_decoder_reaches_the_size_of_the_image(factor: int, widths: tuple[int, ...]) -> None:
    decoder = SketchDecoder(widths, factor)
    features = [torch.randn(2, w, 16 // 2**i, 16 // 2**i) for i, w in enumerate(widths)]
    sketch = decoder(features)
    assert sketch.shape == (2, 1, 16 * factor, 16 * factor)
    assert sketch.min() > 0 and sketch.max() < 1


@pytest.mark.parametrize("blocks", [1, 2])
def test_the_branch_sees_every_level_and_leaves_the_network_as_it_was(blocks: int) -> None:
    torch.manual_seed(0)
    plain = unet(blocks=blocks).eval()
    x, t, labels = torch.randn(2, 3, 16, 16), torch.tensor([5, 700]), torch.tensor([0, 3])
    before = plain(x, t, class_labels=labels).sample
    names = set(plain.state_dict())
    sketched = SketchedUNet(plain, 1).eval()
    assert torch.equal(sketched(x, t, class_labels=labels).sample, before)
    assert [tuple(f.shape[1:]) for f in sketched._features] == [(8, 16, 16), (8, 8, 8), (16, 4, 4)]
    sketched.sketch().mean().backward()
    reached = {name.split(".")[0] for name, p in plain.named_parameters() if p.grad is not None and p.grad.abs().sum()}
    assert {"conv_in", "down_blocks", "time_embedding", "class_embedding"} <= reached
    assert not reached & {"mid_block", "up_blocks", "conv_out", "conv_norm_out"}
    bare = sketched.without_decoder()
    assert bare is plain and set(bare.state_dict()) == names
    assert not any(block._forward_hooks for block in bare.down_blocks)
    assert torch.equal(bare(x, t, class_labels=labels).sample, before)


def test_the_decoder_is_absent_at_sampling(tmp_path: Path) -> None:
    with_branch, without = (fitted(tmp_path / str(s), "synclass", sketch=s) for s in (True, False))
    assert type(with_branch.net) is type(without.net)
    assert set(with_branch.net.state_dict()) == set(without.net.state_dict())
    different = [k for k, v in without.net.state_dict().items() if not torch.equal(v, with_branch.net.state_dict()[k])]
    assert any("down_blocks" in name for name in different)  # the sketch taught the encoder something
    images, labels = draw(with_branch)
    assert images.shape == (7, 16, 16, 3) and np.bincount(labels, minlength=3).tolist() == [3, 0, 4]


def test_a_weight_of_zero_and_no_sketch_are_the_plain_model(tmp_path: Path) -> None:
    """The encoder, bit for bit: the branch changes neither the start nor any random draw."""
    plain, zero = (
        fitted(tmp_path / str(i), "synclass", **options)
        for i, options in enumerate(({}, {"sketch": True, "sketch_weight": 0.0}))
    )
    one, two = plain.net.state_dict(), zero.net.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_without_a_sketch_it_is_the_latent_model(tmp_path: Path) -> None:
    """The same fit by ldm's own code, in one context (the seed of a fit depends on the component's name)."""
    context = tiny_context(tmp_path)
    options = {**SMALL, **AE, "schedule": "scaled-linear", "prediction": "epsilon", "cfg": 1.0}
    nets = []
    for i, name in enumerate(("synclass", "ldm")):
        own = {k: v for k, v in options.items() if k != "autoencoder" or name == "synclass"}
        fit = context.for_fit("one-name", {"number": i})
        generator = ltbench.build("generator", name, **own)
        generator.fit(context.train, fit)
        nets.append(generator.net.state_dict())
    assert all(torch.equal(nets[0][name], nets[1][name]) for name in nets[0])


def test_pixels_below_64_px_and_latents_above(tmp_path: Path) -> None:
    small = fitted(tmp_path / "small", "synclass", sketch=True)
    assert small.shape == (3, 16, 16) and small.schedule == "linear" and small.options["clip"]
    large = tiny_context(tmp_path / "large", protocol={"image_size": 64, "stored_size": 64})
    options = {**AE, "autoencoder": "auto", "max_size": 64, "widths": [8], "ae_widths": [8, 8, 8], "sketch": True}
    latent = fitted(tmp_path / "large", "synclass", context=large, **options)
    assert latent.shape == (4, 16, 16) and latent.schedule == "scaled-linear" and not latent.options["clip"]
    assert latent.learned.targets.shape[1:] == (1, 64, 64)
    images, _ = draw(latent, (1, 0, 1))
    assert images.shape == (2, 64, 64, 3)


@pytest.mark.parametrize("flip", [True, False])
def test_sketches_are_mirrored_with_their_images(tmp_path: Path, flip: bool) -> None:
    """A sketch made of the drawn picture is the sketch that came with it; pixel model, so that pictures are seen."""
    generator = fitted(tmp_path, "synclass", sketch=True, flip=flip)
    torch.manual_seed(0)
    x0, _, sketch = generator.learned.batch(64)
    images = ((x0 + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    again = edges.sobel(edges.grey(images), 1.0)
    assert sketch[:, 0].numpy() == pytest.approx(again, abs=0.6 / 255)
    originals = {bytes(image) for image in np.asarray(generator.learned.x[:24].add(1).mul(127.5).round().byte())}
    turned = sum(bytes(image) not in originals for image in images.transpose(0, 3, 1, 2).copy())
    assert (turned > 10) == flip


def test_mirroring_on_the_fly_turns_image_and_target_together(tmp_path: Path) -> None:
    from ltbench_diffusion.examples import Examples

    x = torch.arange(24 * 16, dtype=torch.float32).view(24, 1, 4, 4)
    context = tiny_context(tmp_path)
    examples = Examples(x, context.train.labels, context, power=1.0, mirror=True, targets=(x % 251).to(torch.uint8))
    torch.manual_seed(0)
    drawn, _, target = examples.batch(50)
    assert torch.allclose(drawn % 251, target * 255, atol=1e-3)
    assert not torch.equal(drawn, drawn.sort(3).values)


def test_sketches_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = tiny_context(tmp_path)
    fitted(tmp_path, "synclass", context=context, sketch=True)
    monkeypatch.setattr(edges, "sobel", None)  # cannot be called
    again = fitted(tmp_path, "synclass", context=context, sketch=True, lr=1e-3)
    assert again.learned.targets is not None
    with pytest.raises(TypeError):
        fitted(tmp_path, "synclass", context=context, sketch=True, edges_sigma=2.0)


def test_sketches_of_another_size_or_range(tmp_path: Path) -> None:
    context = tiny_context(tmp_path)
    good = edges.Edges({"edges": "mine", "sigma": 0.0}, lambda images: edges.sobel(edges.grey(images), 0.0))
    small = replace(good, facts={"edges": "small"}, run=lambda images: good.run(images)[:, ::2, ::2])
    with pytest.raises(DataError, match=r"edges 'small' gave sketches \(24, 8, 8\) for images \(24, 16, 16\); it"):
        edges.sketches_of(context.train.images, 16, small, context)
    wild = replace(good, facts={"edges": "wild"}, run=lambda images: good.run(images) * 2)
    with pytest.raises(DataError, match=r"'wild' gave values outside \[0, 1\]: [\d.]+ to 2; scale them"):
        edges.sketches_of(context.train.images, 16, wild, context)


def test_a_killed_fit_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fitted(tmp_path / "whole", "synclass", sketch=True)
    resumed = fit_with_a_kill(tmp_path / "killed", "synclass", monkeypatch, sketch=True)
    one, two = whole.net.state_dict(), resumed.net.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sketch": 1.5}, r"generator\.sketch must be one of"),
        ({"sketch_weight": -1}, r"generator\.sketch_weight"),
        ({"edges": "hed"}, r"generator\.edges must be one of sobel, canny, pidinet"),
        ({"edges_sigma": -1}, r"generator\.edges_sigma"),
        ({"edges": "pidinet"}, r"edges_path=FILE, its weights, go together: nothing is downloaded"),
        ({"edges_path": "x.pth"}, r"go together"),
        ({"autoencoder": "vq"}, r"generator\.autoencoder"),
        ({"schedule": "sigmoid"}, r"generator\.schedule"),
        ({"cfg": 2.0, "p_uncond": 0.0}, r"generator\.cfg=2"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        ltbench.build("generator", "synclass", **options)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no PiDiNet weights in .*nowhere\.pth"):
        fitted(tmp_path, "synclass", sketch=True, edges="pidinet", edges_path="nowhere.pth")
