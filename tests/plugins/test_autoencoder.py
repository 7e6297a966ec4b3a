"""The autoencoder of latent diffusion: its terms, its scale, its limits, and the same step on several processes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ltbench_diffusion.autoencoder import (
    Autoencoder,
    AutoencoderOptions,
    AutoencoderTraining,
    build_autoencoder,
    fit_autoencoder,
)
from ltbench_diffusion.last_good import LastGood
from ltbench_diffusion.parallel import average_gradients, share
from ltbench_diffusion.perceptual import BACKBONE, HEADS, LEAST, Perceptual, load_perceptual
from torch import nn

from ltbench.errors import DataError, NonFinite, UserError
from ltbench.interfaces import ImagePool
from ltbench.testing.tiny import tiny_context

SMALL = AutoencoderOptions(widths=(8, 8, 8), steps=4, batch=8)
WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


def pool(n: int = 40, size: int = 16, channels: int = 3) -> ImagePool:
    ramp = np.linspace(0, 255, size)
    images = np.random.default_rng(0).integers(0, 60, (n, size, size, channels)) + ramp[:, None, None] * 0.7
    return ImagePool((images.astype(np.uint8),), "pool", ("test",))


def fitted(tmp_path: Path, options: AutoencoderOptions = SMALL, size: int = 16) -> Autoencoder:
    return fit_autoencoder(pool(size=size), tiny_context(tmp_path).for_fit("x", {}), options, size=size)


def test_latents_have_unit_variance_and_decoding_undoes_the_scale(tmp_path):
    made = fitted(tmp_path)
    assert made.shape == (3, 4, 4)
    x = torch.from_numpy(pool().parts[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    mean, sd = made.moments(x)
    assert abs(float((mean + sd * torch.randn_like(sd)).std()) - 1) < 0.1
    raw = made.net.encode(x).latent_dist.mean
    assert torch.allclose(made.encode(x), raw * made.scale)
    assert torch.allclose(made.decode(made.encode(x)), made.net.decode(raw).sample, atol=1e-5)


def test_identity_latents_are_the_pixels(tmp_path):
    made = fitted(tmp_path, AutoencoderOptions(widths=()))
    x = torch.rand(2, 3, 16, 16)
    assert made.shape == (3, 16, 16) and made.scale == 1
    assert torch.equal(made.encode(x), x) and torch.equal(made.decode(x), x)


def test_training_lowers_the_error(tmp_path):
    torch.manual_seed(0)
    options = AutoencoderOptions(widths=(16, 16), adversarial_weight=0.5, adversarial_start=10)
    training = AutoencoderTraining(build_autoencoder(options, channels=3), options, 3, torch.device("cpu"))
    x = torch.from_numpy(pool(16).parts[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    errors = [float(training.step(x, step, torch.autocast("cpu", enabled=False))["l1"]) for step in range(60)]
    assert np.mean(errors[-5:]) < 0.5 * errors[0]


def test_the_loss_is_the_sum_of_its_terms(tmp_path):
    options = AutoencoderOptions(widths=(8, 8), kl_weight=0.1)
    net = build_autoencoder(options, channels=1)
    training = AutoencoderTraining(net, options, 1, torch.device("cpu"))
    x = torch.rand(4, 1, 8, 8) * 2 - 1
    torch.manual_seed(3)
    with torch.no_grad():
        eps = torch.randn(4, 3, 4, 4)
        posterior = net.encode(x).latent_dist
        made = net.decode(posterior.mean + posterior.std * eps).sample
        kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).sum((1, 2, 3)).mean()
        expected = (x - made).abs().sum((1, 2, 3)).mean() + 0.1 * kl
    torch.manual_seed(3)
    terms = training.step(x, 0, torch.autocast("cpu", enabled=False))
    assert float(terms["loss"]) == pytest.approx(float(expected), rel=1e-5)


def test_a_killed_fit_ends_equal(tmp_path):
    whole = fitted(tmp_path / "a")
    context = tiny_context(tmp_path / "b").for_fit("x", {})
    options = AutoencoderOptions(widths=(8, 8, 8), steps=4, batch=8)
    import ltbench.engine.fits as fits

    before, fits.SAVE_EVERY = fits.SAVE_EVERY, -1.0
    calls = []
    original = AutoencoderTraining.step

    def dies(self, *rest):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, *rest)

    AutoencoderTraining.step = dies
    try:
        with pytest.raises(KeyboardInterrupt):
            fit_autoencoder(pool(), context, options, size=16)
        again = fit_autoencoder(pool(), tiny_context(tmp_path / "b").for_fit("x", {}), options, size=16)
    finally:
        AutoencoderTraining.step, fits.SAVE_EVERY = original, before
    assert len(calls) == 5  # two steps before the kill, the broken one, two after
    assert all(torch.equal(a, b) for a, b in zip(whole.net.parameters(), again.net.parameters(), strict=True))
    assert again.scale == whole.scale


@pytest.mark.parametrize(
    ("options", "size", "error", "words"),
    [
        ({"widths": (8, 8, 8)}, 18, UserError, "multiples of 4 px, got 18.*size=16 or 20"),
        ({"lr": 0.0}, 16, UserError, "generator.ae_lr must be a number above 0"),
        ({"latent_channels": 0}, 16, UserError, "generator.latent_channels"),
        ({"perceptual_path": "/nowhere"}, 16, UserError, "at least 17 px, got 16"),
        ({"perceptual_path": "/nowhere"}, 18, DataError, "perceptual_path=none"),
        ({"lr": 1e30, "steps": 100}, 16, NonFinite, "lower it"),
    ],
)
def test_bad_input(tmp_path, options, size, error, words):
    with pytest.raises(error, match=words):
        fitted(tmp_path, AutoencoderOptions(**{"widths": (8, 8), "batch": 4, **options}), size)


class Encoder:
    """An encoder whose latents, whatever the image, are normal with this deviation."""

    def __init__(self, sd: float) -> None:
        self.sd = sd

    def encode(self, x):
        mean = torch.zeros(len(x), 3, 4, 4)
        return type("Out", (), {"latent_dist": type("D", (), {"mean": mean, "std": mean + self.sd})()})()


def test_the_latent_scale_is_one_over_the_deviation_of_the_latents(tmp_path):
    from ltbench_diffusion import autoencoder

    scale = autoencoder._scale(Encoder(2.5), pool(400), 16, tiny_context(tmp_path))
    assert scale == pytest.approx(0.4, rel=0.02)
    with pytest.raises(NonFinite, match="collapsed"):
        autoencoder._scale(Encoder(0.0), pool(), 16, tiny_context(tmp_path))


def test_the_divergence_of_a_posterior_from_the_standard_normal():
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    one = torch.tensor([0.5, -1.0], dtype=torch.float64).view(1, 2, 1, 1)  # mean, log variance
    assert float(DiagonalGaussianDistribution(one).kl()) == pytest.approx(0.308939720586, abs=1e-12)
    many = one.repeat_interleave(3, 1).expand(2, -1, 4, 4)  # summed over the latent, not averaged
    assert DiagonalGaussianDistribution(many).kl().tolist() == pytest.approx([48 * 0.308939720586] * 2, abs=1e-10)


def test_the_perceptual_distance_by_hand():
    torch.manual_seed(0)
    net = Perceptual()
    a, b = torch.rand(2, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 32) * 2 - 1
    assert torch.equal(net(a, a), torch.zeros(2)) and (net(a, b) > 0).all()
    assert torch.allclose(net(a, b)[1:], net(a[1:], b[1:]), atol=1e-6)
    grey = torch.rand(1, 1, 32, 32)
    assert torch.allclose(net(grey, -grey), net(grey.repeat(1, 3, 1, 1), -grey.repeat(1, 3, 1, 1)))


def test_the_least_size_of_the_perceptual_distance():
    net, x = Perceptual(), torch.zeros(1, 3, LEAST, LEAST)
    assert net(x, x).tolist() == [0]
    with pytest.raises(RuntimeError, match="too small"):
        net(x[..., :-1, :-1], x[..., :-1, :-1])


def test_the_perceptual_distance_is_that_of_torchmetrics():
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips")
    theirs = lpips._LPIPS(pretrained=False, net="squeeze", pnet_rand=True).eval()
    ours = Perceptual()
    layers = [layer for part in theirs.net.slices for layer in part]
    for mine, other in zip(ours.features, layers, strict=False):
        mine.load_state_dict(other.state_dict())
    with torch.no_grad():
        for head, line in zip(ours.heads, theirs.lins, strict=True):
            head.copy_(line.model[-1].weight)
    a, b = torch.rand(3, 3, 48, 48) * 2 - 1, torch.rand(3, 3, 48, 48) * 2 - 1
    # theirs shifts and scales by constants rounded to three digits
    assert torch.allclose(ours(a, b), theirs(a, b).flatten(), rtol=1e-3, atol=1e-5)


@pytest.mark.skipif(not (WEIGHTS / BACKBONE).is_file() or not (WEIGHTS / HEADS).is_file(), reason="no weights here")
def test_the_perceptual_distance_with_weights_grows_with_blur():
    from torchvision.transforms.functional import gaussian_blur

    net = load_perceptual(WEIGHTS)
    x = torch.from_numpy(pool(2, 64).parts[0]).permute(0, 3, 1, 2).float() / 127.5 - 1
    near, far = (float(net(x, gaussian_blur(x, [9, 9], [s, s])).mean()) for s in (0.5, 2.0))
    assert 0 < near < far


def save_perceptual(folder: Path, seed: int) -> str:
    """Random weights in the two files."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    net = Perceptual()
    folder.mkdir()
    save_file({f"features.{k}": v.clone() for k, v in net.features.state_dict().items()}, folder / BACKBONE)
    heads = {f"squeeze.lin{i}.model.1.weight": head.data.clone() for i, head in enumerate(net.heads)}
    save_file(heads, folder / HEADS)
    return str(folder)


def test_a_fit_depends_on_the_perceptual_weights_and_not_on_their_folder(tmp_path):
    paths = [save_perceptual(tmp_path / name, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    fits = []
    for path in paths:
        context = tiny_context(tmp_path / "cache").for_fit("x", {})
        fit_autoencoder(
            pool(), context, AutoencoderOptions(widths=(8, 8), steps=1, batch=2, perceptual_path=path), size=18
        )
        fits.append(context.fits["x/autoencoder"])
    assert fits[0] == fits[1] != fits[2]
    plain = AutoencoderOptions(widths=(8, 8))
    assert plain.key() == vars(plain)  # fits without them keep their place


def test_divergence_keeps_the_last_good_weights(tmp_path, monkeypatch, caplog):
    from ltbench_diffusion import last_good

    real, options = AutoencoderTraining.step, AutoencoderOptions(widths=(8, 8), steps=9, batch=4)

    def poisoned(self, x, done, autocast):
        return real(self, x * torch.nan if done >= 5 else x, done, autocast)

    monkeypatch.setattr(last_good, "EVERY", 2)
    monkeypatch.setattr(AutoencoderTraining, "step", poisoned)
    for _ in range(2):  # from the cache, too, it says so
        caplog.clear()
        made = fitted(tmp_path, options, 16)
        assert "the autoencoder's loss is not finite at step 5: the fit stops" in caplog.text
        assert all(torch.isfinite(p).all() for p in made.net.parameters()) and made.scale < 1e3


def test_last_good_weights():
    w = torch.zeros(2)
    kept = LastGood(lambda: [w], 400, what="the loss", hint="do this")

    def look(loss, step):
        w.fill_(step)
        kept.look(torch.tensor(loss), step)

    look(1.0, 0)
    look(2.0, 99)  # no worse than twice the first
    look(0.5, 150)  # between looks
    look(1e9, 199)  # finite, and yet not good
    again = LastGood(lambda: [w], 400, what="the loss", hint="do this")
    again.load_state_dict(kept.state_dict())
    for one in (kept, again):
        one.look(torch.tensor(torch.inf), 299)
        assert one.stopped == 299 and w.tolist() == [99, 99]
    worse = LastGood(lambda: [w], 150, what="the loss", hint="do this")
    worse.look(torch.tensor(1.0), 0)
    worse.look(torch.tensor(3.0), 99)
    with pytest.raises(NonFinite, match="the loss is nan at step 149; do this"):
        worse.look(torch.tensor(torch.nan), 149)


def test_perceptual_weights_that_do_not_fit(tmp_path):
    from safetensors.torch import save_file

    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / BACKBONE)
    save_file({"squeeze.lin0.model.1.weight": torch.zeros(1)}, tmp_path / HEADS)
    with pytest.raises(DataError, match="do not fit the perceptual loss"):
        load_perceptual(tmp_path)


def one_process(rank: int, world: int, folder: str) -> None:
    """Three steps on this process's share, weights to a file."""
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    torch.manual_seed(0)
    options = AutoencoderOptions(widths=(8, 8), adversarial_weight=0.5, adversarial_start=1)
    training = AutoencoderTraining(build_autoencoder(options, channels=3), options, 3, torch.device("cpu"))
    for step in range(3):
        torch.manual_seed(step)
        training.step(torch.rand(8, 3, 16, 16) * 2 - 1, step, torch.autocast("cpu", enabled=False))
    if rank == 0:
        torch.save(training.state_dict(), f"{folder}/{world}.pt")
    if world > 1:
        torch.distributed.destroy_process_group()


def test_two_processes_do_what_one_does(tmp_path):
    one_process(0, 1, str(tmp_path))
    torch.multiprocessing.spawn(one_process, (2, str(tmp_path)), nprocs=2)
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in (1, 2))
    for part in ("net", "critic"):  # a key's bias leaves the attention as it is: its gradient is rounding alone
        same = {k: torch.allclose(one[part][k], two[part][k], atol=1e-5) for k in one[part] if "to_k.bias" not in k}
        assert all(same.values()), same
    x, images = torch.rand(2, 3, 16, 16), []
    for state in (one, two):
        net = build_autoencoder(AutoencoderOptions(widths=(8, 8)), channels=3)
        net.load_state_dict(state["net"])
        images.append(net(x).sample)
    assert torch.allclose(*images, atol=1e-5)


def test_alone_nothing_is_shared():
    x = torch.rand(3, 2)
    assert share(x)[0] is x
    layer = nn.Linear(2, 1)
    layer(x).sum().backward()
    before = layer.weight.grad.clone()
    average_gradients(layer.parameters())
    assert torch.equal(layer.weight.grad, before)
