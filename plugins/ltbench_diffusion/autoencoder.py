"""The autoencoder of latent diffusion: images to scaled latents and back, trained in one cached phase."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import Context, ImagePool
from ltbench.models.images import resized, to_signed
from ltbench.options import number, whole, wholes
from ltbench_diffusion.last_good import LastGood
from ltbench_diffusion.parallel import average, average_gradients, share
from ltbench_diffusion.perceptual import LEAST, load_perceptual, perceptual_content
from ltbench_diffusion.unet import norm_groups

SCALE_IMAGES = 1000  # images behind the latent scale


@dataclass(frozen=True)
class AutoencoderOptions:
    """widths of its levels (their number minus one halvings; empty: latents are the pixels), latent_channels, steps,
    batch, lr; kl_weight on the KL term summed over the latent; perceptual_path, a folder with the weights of
    `perceptual`, and perceptual_weight; adversarial_weight and adversarial_start, the step at which the patch
    discriminator joins (weight 0: never). UserError for values out of range.
    """

    widths: tuple[int, ...] = (32, 64, 64)
    latent_channels: int = 3
    steps: int = 1500
    batch: int = 32
    lr: float = 1e-3
    kl_weight: float = 1e-6
    perceptual_path: str | None = None
    perceptual_weight: float = 1.0
    adversarial_weight: float = 0.0
    adversarial_start: int = 0

    def __post_init__(self) -> None:
        if self.widths:
            wholes("generator.ae_widths", self.widths, example="[32,64,64]")
        whole("generator.latent_channels", self.latent_channels, 1)
        whole("generator.ae_steps", self.steps, 1)
        whole("generator.ae_batch", self.batch, 1)
        number("generator.ae_lr", self.lr, ends="()", example=1e-3)
        number("generator.kl_weight", self.kl_weight)
        number("generator.perceptual_weight", self.perceptual_weight)
        number("generator.adversarial_weight", self.adversarial_weight)
        whole("generator.adversarial_start", self.adversarial_start)

    def key(self) -> dict[str, Any]:
        """What a fit depends on: every option, with the content of the perceptual weights for their folder."""
        path = self.perceptual_path
        return {**asdict(self), "perceptual_path": perceptual_content(path) if path else path}

    @property
    def factor(self) -> int:
        """Pixels of the image per pixel of the latent."""
        return 2 ** max(len(self.widths) - 1, 0)


class Autoencoder:
    """Scaled latents z (B, zc, h, w) of images x (B, c, H, W) in [-1, 1], and back; identity without widths.

    scale: 1 / sd of the latents of training images, so that z has unit variance. shape: (zc, h, w).
    """

    def __init__(self, net: Any | None, shape: tuple[int, int, int], scale: float = 1.0) -> None:
        self.net, self.shape, self.scale = net, shape, scale

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and sd (B, zc, h, w) of the scaled latents."""
        if self.net is None:
            return x, torch.zeros_like(x)
        posterior = self.net.encode(x).latent_dist
        return posterior.mean * self.scale, posterior.std * self.scale

    def encode(self, x: Tensor) -> Tensor:
        """The mean of the scaled latents (B, zc, h, w)."""
        return self.moments(x)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, c, H, W), nominally in [-1, 1], of scaled latents."""
        return z if self.net is None else self.net.decode(z / self.scale).sample


def build_autoencoder(options: AutoencoderOptions, *, channels: int) -> Any:
    """diffusers' AutoencoderKL with one residual block a level and attention in the middle only."""
    from diffusers import AutoencoderKL

    levels = len(options.widths)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(options.widths),
        layers_per_block=1,
        latent_channels=options.latent_channels,
        norm_num_groups=norm_groups(options.widths),
    )


def patch_discriminator(channels: int, width: int) -> nn.Sequential:
    """Logits (B, 1, h, w) of patches; group norm in place of PatchGAN's batch norm (Isola et al. 2017, appendix)."""
    layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    layers += [
        nn.Conv2d(width, 2 * width, 4, 2, 1),
        nn.GroupNorm(norm_groups([2 * width]), 2 * width),
        nn.LeakyReLU(0.2),
    ]
    return nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 3, 1, 1))


class AutoencoderTraining:
    """L1 + perceptual, KL, and an adversarial term balanced by gradients; Rombach et al. 2022, section 3.1, appendix G.

    The reconstruction is a sum over pixels under a learned log variance, averaged over the batch; the adversarial
    weight is multiplied by the ratio of gradient norms at the decoder's last layer, at most 1e4.
    """

    def __init__(self, net: Any, options: AutoencoderOptions, channels: int, device: torch.device) -> None:
        self.net, self.options = net, options
        self.log_variance = nn.Parameter(torch.zeros((), device=device))
        self.optimizer = torch.optim.Adam([*net.parameters(), self.log_variance], lr=options.lr, betas=(0.5, 0.9))
        self.perceptual = load_perceptual(options.perceptual_path).to(device) if options.perceptual_path else None
        hint = f"lower it: --set generator.ae_lr={options.lr / 3:g}"
        weights = [*net.parameters(), self.log_variance]
        self.good = LastGood(lambda: weights, options.steps, what="the autoencoder's loss", hint=hint)
        self.critic: nn.Sequential | None = None
        if options.adversarial_weight:
            self.critic = patch_discriminator(channels, min(64, options.widths[-1])).to(device)
            self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=options.lr, betas=(0.5, 0.9))

    def step(self, x: Tensor, done: int, autocast: Any) -> dict[str, Tensor]:
        """One update on the global batch x (B, c, H, W) in [-1, 1]; returns its terms, each a scalar."""
        o = self.options
        eps = torch.randn(len(x), *self._latent(x), device=x.device)
        x, eps = share(x, eps)
        with autocast:
            posterior = self.net.encode(x).latent_dist
            made = self.net.decode(posterior.mean + posterior.std * eps).sample.float()
        error = self.reconstruction(x, made)
        nll = (error / self.log_variance.exp() + self.log_variance).flatten(1).sum(1).mean()
        kl = posterior.kl().mean()
        loss = nll + o.kl_weight * kl
        active = self.critic is not None and done >= o.adversarial_start
        if self.critic is not None and active:
            adversarial = -self.critic(made).mean()
            loss = loss + o.adversarial_weight * self._balance(nll, adversarial) * adversarial
        self._update(self.optimizer, loss)
        if self.critic is not None and active:
            real, fake = self.critic(x), self.critic(made.detach())
            self._update(self.critic_optimizer, 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean()))
        terms = {"loss": loss.detach(), "l1": (x - made).abs().mean().detach(), "kl": kl.detach()}
        average(terms.values())
        return terms

    def reconstruction(self, x: Tensor, made: Tensor) -> Tensor:
        """Absolute error a pixel (B, c, H, W), plus the perceptual distance of the whole image at every pixel."""
        error = (x - made).abs()
        if self.perceptual is not None:
            error = error + self.options.perceptual_weight * self.perceptual(x, made).view(-1, 1, 1, 1)
        return error

    def _latent(self, x: Tensor) -> tuple[int, int, int]:
        side = x.shape[-1] // self.options.factor
        return self.options.latent_channels, side, side

    def _balance(self, nll: Tensor, adversarial: Tensor) -> Tensor:
        last = self.net.decoder.conv_out.weight
        grads = [torch.autograd.grad(term, last, retain_graph=True)[0] for term in (nll, adversarial)]
        average(grads)
        return (grads[0].norm() / (grads[1].norm() + 1e-4)).clamp(0, 1e4).detach()

    @staticmethod
    def _update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        average_gradients(p for group in optimizer.param_groups for p in group["params"])
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, the log variance and the last good weights."""
        state = {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log_variance": self.log_variance.detach(),
            "good": self.good.state_dict(),
        }
        if self.critic is not None:
            state |= {"critic": self.critic.state_dict(), "critic_optimizer": self.critic_optimizer.state_dict()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.net.load_state_dict(state["net"])
        self.optimizer.load_state_dict(state["optimizer"])
        with torch.no_grad():
            self.log_variance.copy_(state["log_variance"])
        self.good.load_state_dict(state.get("good", {}))
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])


def fit_autoencoder(pool: ImagePool, context: Context, options: AutoencoderOptions, *, size: int) -> Autoencoder:
    """Train (or load) the autoencoder of a pool of images at size px and measure its latent scale.

    UserError for a size it cannot take; NonFinite for a diverged or collapsed fit.
    """
    channels = pool.shape[2]
    if not options.widths:
        return Autoencoder(None, (channels, size, size))
    check_size(options, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(context.rng("autoencoder-start").integers(2**63)))
        net = build_autoencoder(options, channels=channels).to(context.device)
        training = AutoencoderTraining(net, options, channels, context.device)
    key = {**options.key(), "size": size, "pool": pool.content}
    for step in context.steps("autoencoder", options.steps, training, options=key, data=pool.content):
        if training.good.stopped >= 0:
            continue
        terms = training.step(batch_of(pool, options.batch, size, context), step, context.autocast())
        training.good.look(terms["loss"], step)
    training.good.say()
    net.eval().requires_grad_(False)
    side = size // options.factor
    return Autoencoder(net, (options.latent_channels, side, side), _scale(net, pool, size, context))


def check_size(options: AutoencoderOptions, size: int) -> None:
    """UserError where the autoencoder cannot take images of size px."""
    if size % options.factor:
        below = size // options.factor * options.factor
        raise UserError(
            f"an autoencoder with {len(options.widths)} levels takes multiples of {options.factor} px, got {size}; "
            f"--set generator.size={below or options.factor} or {below + options.factor}"
        )
    if options.perceptual_path and size < LEAST:
        raise UserError(f"the perceptual loss needs images of at least {LEAST} px, got {size}; leave it out")


def batch_of(pool: ImagePool, n: int, size: int, context: Context) -> Tensor:
    """n random images (n, c, size, size) in [-1, 1] on the device, drawn from torch's global generator."""
    rows = torch.randint(0, len(pool), (n,)).numpy()
    return to_signed(resized(pool.take(rows), (size, size)).to(context.device))


@torch.no_grad()
def _scale(net: Any, pool: ImagePool, size: int, context: Context) -> float:
    rows = np.sort(context.rng("latent-scale").permutation(len(pool))[:SCALE_IMAGES])
    noise = context.torch_rng("latent-scale-noise")
    parts = []
    for start in range(0, len(rows), 64):
        x = to_signed(resized(pool.take(rows[start : start + 64]), (size, size)).to(context.device))
        posterior = net.encode(x).latent_dist
        parts.append(
            (posterior.mean.cpu() + posterior.std.cpu() * torch.randn(posterior.mean.shape, generator=noise)).double()
        )
    sd = float(torch.cat(parts).std())
    if not np.isfinite(sd) or sd < 1e-3:
        raise NonFinite(
            f"the autoencoder has collapsed: its latents have a standard deviation of {sd:.2g}; "
            "lower generator.kl_weight or fit it longer (generator.ae_steps)"
        )
    return 1.0 / sd
