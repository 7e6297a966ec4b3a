"""HistoDiffusion: the sheet's numbers, exact guidance of a mixture, what each phase may change, and its limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ltbench_diffusion.samplers import ddim
from ltbench_diffusion.schedules import alphas_cumprod
from ltbench_histodiffusion.generator import HistoDiffusion
from ltbench_histodiffusion.guide import GuideTraining, LatentClassifier
from ltbench_histodiffusion.sampling import guidance_weight, guided, kept_steps

from ltbench.errors import NonFinite, UserError
from ltbench.models.images import resized, to_signed
from ltbench.testing.tiny import tiny_context, tiny_options

LDM = alphas_cumprod("scaled-linear-ldm")
Z, EPS, G = (torch.tensor(v, dtype=torch.float64) for v in ([0.5, -1, 2], [0.1, -0.2, 0.3], [2.0, 4, -12]))


def close(got: Any, wanted: list[float], tolerance: float = 2e-6) -> bool:
    return torch.allclose(torch.as_tensor(got, dtype=torch.float64), torch.tensor(wanted).double(), atol=tolerance)


def test_the_schedule():
    wanted = {0: 0.9985, 1: 0.996996, 20: 0.967593, 50: 0.918175, 100: 0.828818, 250: 0.535476, 500: 0.15007}
    wanted |= {750: 0.0173945, 980: 0.000896405, 999: 0.000668665}
    assert close(LDM[list(wanted)], list(wanted.values()), 6e-7)


def test_the_times_of_the_released_code():
    times = kept_steps(200)
    assert times[:3] == [996, 991, 986] and times[-2:] == [6, 1] and len(times) == 200
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
    theirs.set_timesteps(50)
    assert kept_steps(50) == theirs.timesteps.tolist()


def one_step(t: int, after: int, scale: float, **rest: Any) -> torch.Tensor:
    levels = [float(LDM[t]), float(LDM[after])]
    model = guided(lambda z, t: EPS, lambda z, t: G, [t], levels, scale=scale, **rest)
    eta = 1.0 if rest.get("form") == "mean_shift" else 0.0
    return ddim(model, Z, [t], levels, eta=eta)


def test_one_ddim_step_in_the_score_form():
    assert close(one_step(501, 496, 1), [0.540299, -0.945755, 1.825915])
    assert close(one_step(500, 480, 1), [0.662846, -0.780262, 1.295205])
    assert close(one_step(500, 480, 0), [0.526489, -1.052978, 2.113351])
    abar = float(LDM[500])
    assert close(EPS - guidance_weight(abar, 0.5, "score") * G, [-1.743833, -3.887666, 11.362997])


def test_one_ancestral_step_with_a_shifted_mean():
    assert close(one_step(500, 499, 0, form="mean_shift"), [0.500950, -1.001899, 2.004524])
    assert close(one_step(500, 499, 1, form="mean_shift"), [0.514270, -0.975259, 1.924604])
    assert close(one_step(500, 499, 10, form="mean_shift"), [0.634150, -0.735499, 1.205322])
    levels = [float(LDM[500]), float(LDM[499])]
    score = ddim(guided(lambda z, t: EPS, lambda z, t: G, [500], levels, scale=1), Z, [500], levels, eta=1)
    assert close(score, [0.514330, -0.975138, 1.924241])
    ratio = (score - one_step(500, 499, 0, form="mean_shift")) / (
        one_step(500, 499, 1, form="mean_shift") - one_step(500, 499, 0, form="mean_shift")
    )
    assert close(ratio, [1.004541] * 3, 2e-6)


def test_one_ancestral_step_with_the_linear_schedule():
    abar = alphas_cumprod("linear")
    levels = [float(abar[500]), float(abar[499])]
    for scale, wanted in ((0, [0.501481, -1.002962, 2.006978]), (1, [0.521584, -0.962757, 1.886362])):
        model = guided(lambda z, t: EPS, lambda z, t: G, [500], levels, scale=scale, form="mean_shift")
        assert close(ddim(model, Z, [500], levels, eta=1), wanted)


@pytest.mark.parametrize(
    ("form", "schedule", "scale", "steps", "eta", "share", "mean", "sd"),
    [
        ("mean_shift", "scaled-linear-ldm", 0, 1000, 1, 0.499, -0.003, 1.040),
        ("mean_shift", "scaled-linear-ldm", 1, 1000, 1, 0.999, 1.000, 0.293),
        ("mean_shift", "scaled-linear-ldm", 10, 1000, 1, 1.000, 1.153, 0.275),
        ("mean_shift", "linear", 1, 1000, 1, 0.999, 1.001, 0.294),
        ("score", "scaled-linear-ldm", 1, 50, 0, 1.000, 0.990, 0.265),
        ("score", "scaled-linear-ldm", 1, 200, 0, 1.000, 0.989, 0.289),
        ("score", "scaled-linear-ldm", 10, 200, 0, 1.000, 1.720, 0.129),
        ("score", "linear", 1, 50, 1, 1.000, 1.000, 0.254),
        ("score", "linear", 1, 200, 1, 1.000, 1.003, 0.285),
    ],
)
def test_a_mixture_with_exact_noise_and_exact_guidance(form, schedule, scale, steps, eta, share, mean, sd):
    abar = alphas_cumprod(schedule)
    times = kept_steps(steps, offset=0)
    levels = [*(float(abar[t]) for t in times), 1.0]

    def posterior(z, t):  # p(x0 > 0 component | z_t), and both means of z_t
        a, s2 = float(abar[t]) ** 0.5, float(abar[t]) * 0.09 + 1 - float(abar[t])
        return torch.sigmoid(2 * a * z / s2), a, s2

    def predict(z, t):
        right, a, s2 = posterior(z, t)
        score = (right * (a - z) + (1 - right) * (-a - z)) / s2
        return -((1 - float(abar[t])) ** 0.5) * score

    def gradient(z, t):
        right, a, s2 = posterior(z, t)
        return (1 - right) * 2 * a / s2

    random = torch.Generator().manual_seed(0)
    noise = lambda i: torch.randn(20000, generator=random, dtype=torch.float64)  # noqa: E731
    model = guided(predict, gradient, times, levels, scale=scale, form=form)
    x = ddim(model, noise(0), times, levels, eta=eta, noise=noise)
    assert abs(float((x > 0).double().mean()) - share) < 0.03
    assert abs(float(x.mean()) - mean) < 0.03 and abs(float(x.std()) - sd) < 0.03


def made(tmp_path: Path, **options: Any) -> tuple[HistoDiffusion, Any]:
    chosen = tiny_options("generator", "histodiffusion", **options)
    context = tiny_context(tmp_path, generator=chosen)
    return context.fit_generator(context.recipe["generator"]), context  # type: ignore[return-value]


def draw(generator: HistoDiffusion, counts: tuple[int, ...] = (3, 2, 3), seed: int = 0) -> np.ndarray:
    images, labels = generator.sample(np.array(counts), guide=None, rng=np.random.default_rng(seed))
    assert np.bincount(labels, minlength=3).tolist() == list(counts)
    return images


def weights(module: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in module.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_tuning_changes_the_decoder_alone(tmp_path):
    (tuned, _), (plain, _) = made(tmp_path), made(tmp_path, decoder_tuning=False)
    for part in ("encoder", "quant_conv"):
        assert same(weights(getattr(tuned.coder.net, part)), weights(getattr(plain.coder.net, part)))
    assert same(weights(tuned.unet), weights(plain.unet)) and same(weights(tuned.guide), weights(plain.guide))
    assert not same(weights(tuned.coder.net.decoder), weights(plain.coder.net.decoder))


def test_tuning_rebuilds_better_and_in_class(tmp_path):
    """Reconstruction error and the classifier's cross-entropy fall on the labelled images (section 14, item 9)."""
    options = {"ae_steps": 60, "ae_batch": 16, "decoder_steps": 150, "decoder_batch": 16, "decoder_lr": 1e-3}
    found = {}
    for name, chosen in {"plain": {"decoder_tuning": False}, "tuned": {}, "led": {"ce_weight": 100.0}}.items():
        generator, context = made(tmp_path, **options, **chosen)
        x = to_signed(resized(context.train.images, (generator.size,) * 2))
        labels, coder, judge = torch.tensor(context.train.labels), generator.coder, context.reference("guide")
        with torch.no_grad():
            again = coder.decode(coder.encode(x))
            entropy = -judge.log_prob(again, labels).mean()
        found[name] = (float((again - x).abs().mean()), float(entropy))
    assert found["tuned"][0] < 0.97 * found["plain"][0] and found["led"][0] < 0.97 * found["plain"][0]
    assert found["led"][1] < found["plain"][1] - 0.003 and found["led"][1] < found["tuned"][1] - 0.003


def test_variants_share_their_phases(tmp_path):
    contexts = {
        name: made(tmp_path, **options)[1]
        for name, options in {
            "full": {},
            "no-ft": {"decoder_tuning": False},
            "no-pt": {"pretrain": False},
            "sampling": {"scale": 1.0, "steps": 4},
        }.items()
    }
    fits = {name: context.fits for name, context in contexts.items()}
    phases = {"autoencoder", "unet", "latent-classifier", "decoder"}
    assert {f"histodiffusion/{p}" for p in phases} <= set(fits["full"])
    assert fits["sampling"] == fits["full"]
    assert fits["no-ft"].items() <= fits["full"].items() and "histodiffusion/decoder" not in fits["no-ft"]
    assert not {fits["no-pt"][f"histodiffusion/{p}"] for p in phases} & set(fits["full"].values())


def test_images_do_not_depend_on_the_batch_or_on_other_classes(tmp_path):
    generator, _ = made(tmp_path)
    whole = draw(generator)
    generator.options["sample_batch"] = 1
    assert np.abs(draw(generator).astype(int) - whole).max() <= 1
    assert np.abs(draw(generator, (0, 2, 0)).astype(int) - whole[3:5]).max() <= 1


def test_without_guidance_the_classifier_is_never_asked(tmp_path):
    generator, _ = made(tmp_path, scale=0.0)
    images = draw(generator)
    generator.guide.gradient = lambda *_: pytest.fail("asked")
    assert np.array_equal(draw(generator), images)


@pytest.mark.parametrize(("autoencoder", "noise"), [("identity", 0.0), ("kl", (1 - 0.9985) ** 0.5)])
def test_pixels_end_without_noise(tmp_path, monkeypatch, autoencoder, noise):
    """An exact denoiser of one image leads there; latents keep the noise of the first level, as in the release."""
    generator, _ = made(tmp_path, autoencoder=autoencoder, scale=0.0, prediction="epsilon", decoder_tuning=False)
    decode, seen = generator.coder.decode, []

    def unet(z: torch.Tensor, t: int) -> Any:
        a = float(generator.abar[t])
        return SimpleNamespace(sample=(z - a**0.5 * ramp(z)) / (1 - a) ** 0.5)

    def ramp(z: torch.Tensor) -> torch.Tensor:
        return torch.linspace(-0.5, 0.5, z[0].numel()).view(z[0].shape)

    monkeypatch.setattr(generator, "unet", unet)
    monkeypatch.setattr(generator.coder, "decode", lambda z: (seen.append(z), decode(z))[1])
    draw(generator, (40, 40, 40))
    z = torch.cat(seen)
    assert float((z - (1 - noise**2) ** 0.5 * ramp(z)).std()) == pytest.approx(noise, rel=0.05, abs=1e-6)


def test_a_broken_gradient_counts_as_zero_and_many_are_an_error(tmp_path):
    generator, _ = made(tmp_path)
    generator.guide.gradient = lambda z, t, labels: torch.full_like(z, torch.nan)
    with pytest.raises(NonFinite, match=r"not finite in 16 of 16 .*lower generator.scale"):
        draw(generator)


def test_the_guide_knows_the_noise(tmp_path):
    """Two classes of opposite sign: sure with little noise, at chance with much, and led the right way."""
    torch.manual_seed(0)
    net = LatentClassifier(size=8, channels=1, widths=(8, 8), blocks=1, attention=0, num_classes=2)
    training = GuideTraining(net, LDM.float(), lr=3e-3, weight_decay=0.0, total=150)
    labels = torch.arange(32) % 2
    clean = (2.0 * labels - 1).view(-1, 1, 1, 1) * 0.4 + 0.3 * torch.randn(32, 1, 8, 8)
    off = torch.autocast("cpu", enabled=False)
    for step in range(150):
        training.step(clean, labels, step, off)
    assert training.validate(clean, labels, 149, torch.Generator().manual_seed(0)) < 0.6
    guide = training.finish()

    def sure(t: int) -> float:
        z = LDM[t].sqrt().float() * clean + (1 - LDM[t]).sqrt().float() * torch.randn_like(clean)
        return float((guide(z, t).argmax(1) == labels).float().mean())

    assert sure(1) > 0.95 and sure(999) < 0.8
    toward = guide.gradient(clean, 100, torch.ones(32, dtype=torch.int64)).mean()
    assert toward > 0
    alone = guide.gradient(clean[:1], 100, torch.ones(1, dtype=torch.int64))
    assert torch.allclose(guide.gradient(clean, 100, torch.ones(32, dtype=torch.int64))[:1], alone, atol=1e-6)


def test_the_gradient_by_finite_differences():
    torch.manual_seed(0)
    net = LatentClassifier(size=4, channels=1, widths=(8,), blocks=1, attention=0, num_classes=3).double().eval()
    z, label = torch.randn(1, 1, 4, 4, dtype=torch.float64), torch.tensor([2])
    found = net.gradient(z, 300, label).flatten()
    for i in range(0, 16, 5):
        step = torch.zeros(16, dtype=torch.float64)
        step[i] = 1e-5
        up, down = (net(z + sign * step.view_as(z), 300).log_softmax(1)[0, 2] for sign in (1, -1))
        assert (up - down).item() / 2e-5 == pytest.approx(float(found[i]), rel=1e-5)


def test_a_killed_phase_ends_equal(tmp_path, monkeypatch):
    import ltbench.engine.fits as fits

    whole, _ = made(tmp_path / "a")
    monkeypatch.setattr(fits, "SAVE_EVERY", -1.0)
    original, calls = GuideTraining.step, []

    def dies(self, *rest):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, *rest)

    monkeypatch.setattr(GuideTraining, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "b")
    again, context = made(tmp_path / "b")
    assert context.cost.phases["fit histodiffusion/unet"]["cached"] and len(calls) == 3
    assert np.array_equal(draw(whole), draw(again))


def test_a_latent_classifier_that_diverges_keeps_its_best_weights(tmp_path, monkeypatch, caplog):
    real = GuideTraining.step

    def poisoned(self, z, labels, done, autocast):
        return real(self, z * torch.nan if done >= 3 else z, labels, done, autocast)

    monkeypatch.setattr(GuideTraining, "step", poisoned)
    generator, _ = made(tmp_path, guide_steps=6)
    assert "the latent classifier's loss is not finite at step 3" in caplog.text
    assert all(torch.isfinite(p).all() for p in generator.guide.parameters())


def test_a_diffusion_model_that_diverges_says_so_each_time(tmp_path, monkeypatch, caplog):
    from ltbench_diffusion import training

    real, done = training.DiffusionTraining.step, []

    def poisoned(self, x0, *rest):
        done.append(1)
        real(self, x0 * torch.nan if len(done) > 5 else x0, *rest)

    monkeypatch.setattr(training, "CHECK", 2)
    monkeypatch.setattr(training.DiffusionTraining, "step", poisoned)
    for _ in range(2):
        generator, _ = made(tmp_path, train_steps=12)
        assert all(torch.isfinite(p).all() for p in generator.unet.parameters())
        draw(generator)
        assert generator.notes()["stopped_at"] == 6
    assert len(done) == 7, "after the divergence no step is made"
    assert caplog.text.count("diffusion loss is not finite at step 6: the fit stops") == 2


def test_a_decoder_that_diverges_keeps_its_last_good_weights(tmp_path, monkeypatch, caplog):
    from ltbench_diffusion import last_good
    from ltbench_histodiffusion.decoder import DecoderTuning

    real = DecoderTuning.step

    def poisoned(self, x, labels, autocast):
        poisoned.done += 1
        return real(self, x * torch.nan if poisoned.done > 4 else x, labels, autocast)

    poisoned.done = 0
    monkeypatch.setattr(last_good, "EVERY", 2)
    monkeypatch.setattr(DecoderTuning, "step", poisoned)
    generator, _ = made(tmp_path, decoder_steps=8)
    assert "the decoder's loss is not finite at step 5" in caplog.text
    assert same(weights(generator.coder.net), [p.nan_to_num() for p in weights(generator.coder.net)])
    assert poisoned.done == 6


def test_any_number_of_steps_starts_in_noise():
    abar = alphas_cumprod("scaled-linear-ldm")
    for steps in (3, 7, 300, 501, 700, 1000):
        times = kept_steps(steps)
        assert len(times) == steps and times[-1] == 1 and times == sorted(times, reverse=True)
        assert steps < 100 or abar[times[0]] < 0.001


def test_the_decoder_depends_on_its_classifier_and_no_pretraining_on_the_pixels(tmp_path):
    spec = tiny_options("generator", "histodiffusion", decoder_tuning=True)
    longer, fits = {"epochs": 3}, {}
    for name, protocol in (("short", {}), ("long", longer)):
        context = tiny_context(tmp_path, generator=spec, protocol=protocol)
        context.fit_generator(context.recipe["generator"])
        fits[name] = context.fits
    assert fits["short"]["histodiffusion/unet"] == fits["long"]["histodiffusion/unet"]
    assert fits["short"]["reference-guide/epochs"] != fits["long"]["reference-guide/epochs"]
    assert fits["short"]["histodiffusion/decoder"] != fits["long"]["histodiffusion/decoder"]
    contents = []
    for shift in (0, 1):
        context = tiny_context(tmp_path, generator=spec)
        context.train = replace(context.train, images=context.train.images + np.uint8(shift))
        context.fit_generator({**context.recipe["generator"], "pretrain": False})
        contents.append(context.fits["histodiffusion/autoencoder"])
    assert contents[0] != contents[1]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"form": "mean_shift"}, UserError, r"generator.sampler=ddpm"),
        ({"sampler": "ddpm", "eta": 0.0}, UserError, "generator.eta=0 is for generator.sampler=ddim, got 'ddpm'"),
        ({"pool": []}, UserError, "generator.pool must be a list of sources"),
        ({"pool": [3]}, UserError, "generator.pool must be a list of sources"),
        ({"scale": -1}, UserError, "generator.scale must be a number of at least 0"),
        ({"steps": 1}, UserError, "generator.steps must be a whole number of at least 2"),
        ({"autoencoder": "vq"}, UserError, "auto, identity, kl"),
        ({"ae_widths": []}, UserError, "generator.ae_widths"),
        ({"perceptual_path": "/nowhere"}, UserError, "at least 17 px, got 16"),
        ({"guide_lr": 1e20, "guide_steps": 30}, NonFinite, "generator.guide_lr="),
        ({"decoder_lr": 1e20, "decoder_steps": 100}, NonFinite, "generator.decoder_lr="),
    ],
)
def test_bad_input(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        made(tmp_path, **options)


def test_ancestral_steps_take_the_default_eta():
    assert HistoDiffusion(sampler="ddpm", form="mean_shift").options["eta"] == 1
