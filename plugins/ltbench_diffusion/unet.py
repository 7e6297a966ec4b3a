"""The noise predictor: shape of the U-Net, its training state, and files of trained ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import DataError, UserError
from ltbench_diffusion.last_good import LastGood

WEIGHTS = "diffusion_pytorch_model.safetensors"
MANIFEST = "ltbench.json"  # beside the weights: what the network predicts and the ids of its training images


def fit_shape(side: int, max_size: int, widths: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Generation size in px and the widths in use: no map below 4 px, the size a multiple of the down-sampling."""
    size = min(side, max_size)
    levels = len(widths)
    while levels > 1 and size // 2 ** (levels - 1) < 4:
        levels -= 1
    step = 2 ** (levels - 1)
    return -(-size // step) * step, tuple(widths[:levels])


def exact_shape(size: int, widths: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """`fit_shape` of a size in px that is asked for by name; UserError where these widths cannot take it."""
    fits, used = fit_shape(size, size, widths)
    if fits != size:
        step = 2 ** (len(used) - 1)
        raise UserError(
            f"generator.size must be a multiple of {step} for {len(used)} widths, got {size}; "
            f"--set generator.size={fits - step} or {fits}"
        )
    return size, used


def norm_groups(widths: Sequence[int]) -> int:
    """Groups of the normalisation: at most 32, dividing every width, at least two channels each where possible."""
    candidates = [g for g in range(1, 33) if all(w % g == 0 and w // g >= 2 for w in widths)]
    return max(candidates, default=1)


def build_unet(
    *,
    size: int,
    channels: int,
    widths: Sequence[int],
    blocks: int,
    attention: int,
    num_classes: int | None,
    dropout: float = 0.0,
) -> Any:
    """A UNet2DModel with self-attention in maps of at most `attention` px; num_classes: class-conditional."""
    from diffusers import UNet2DModel

    attends = [size // 2**i <= attention for i in range(len(widths))]
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(widths),
        layers_per_block=blocks,
        down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=norm_groups(widths),
        attention_head_dim=min(64, min(widths)),
        num_class_embeds=num_classes,
        dropout=dropout,
    )


class UNetTraining:
    """A U-Net, its optimiser (AdamW) and its moving average (decay warmed up as (1 + n) / (10 + n)).

    good: what it falls back to where it diverges.
    """

    def __init__(self, unet: Any, *, lr: float, ema: float, total: int, prediction: str) -> None:
        from diffusers.training_utils import EMAModel

        self.unet = unet
        self.optimizer = torch.optim.AdamW(unet.parameters(), lr=lr, fused=True)
        self.ema = EMAModel(unet.parameters(), decay=ema, foreach=True)
        self.lr, self.total, self.prediction = lr, total, prediction
        betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
        self.abar = torch.cumprod(1 - betas, 0).float().to(unet.device)
        hint = f"lower it: --set generator.lr={lr / 3:g}"
        self.good = LastGood(lambda: self.ema.shadow_params, total, what="diffusion loss", hint=hint)

    def step(self, x0: Tensor, labels: Tensor | None, done: int, autocast: Any) -> Tensor:
        """One update on images x0 (B, c, h, w) in [-1, 1]; returns the loss, of eps (equation 2) or v."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * min(1.0, (done + 1) / (0.05 * self.total), (self.total - done) / (0.3 * self.total))
        t = torch.randint(0, 1000, (len(x0),), device=x0.device)
        noise = torch.randn_like(x0)
        abar = self.abar[t].view(-1, 1, 1, 1)
        target = noise if self.prediction == "epsilon" else abar.sqrt() * noise - (1 - abar).sqrt() * x0
        with autocast:
            predicted = self.unet(abar.sqrt() * x0 + (1 - abar).sqrt() * noise, t, class_labels=labels).sample
        loss = nn.functional.mse_loss(predicted.float(), target)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.ema.step(self.unet.parameters())
        return loss.detach()

    def finish(self) -> Any:
        """The U-Net with the averaged weights, frozen, in eval mode."""
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.copy_to(self.unet.parameters())
        return self.unet.eval().requires_grad_(False)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, moving average and its last good values."""
        return {
            "unet": self.unet.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
            "good": self.good.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.unet.load_state_dict(state["unet"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])
        self.ema.to(self.unet.device)
        self.good.load_state_dict(state.get("good", {}))


def save_unet(unet: Any, folder: str | Path, *, prediction: str, train_ids: Iterable[str], **facts: Any) -> None:
    """Write weights, configuration and manifest; facts: what else a run that loads them has to agree in."""
    unet.save_pretrained(folder)
    manifest = {"prediction": prediction, "train_ids": [str(i) for i in train_ids], **facts}
    (Path(folder) / MANIFEST).write_text(json.dumps(manifest))


def check_manifest(
    path: str, *, prediction: str, train_ids: Iterable[str], val_ids: Iterable[str], **facts: Any
) -> dict[str, Any]:
    """The manifest of a trained U-Net, {} where there is none.

    UserError where it shows another prediction or other facts, or images held out in this run.
    Held out: validation images, and images of a training part that this run's training part only partly shares.
    """
    file = Path(path) / MANIFEST
    if not file.is_file():
        return {}
    manifest = json.loads(file.read_text())
    if manifest["prediction"] != prediction:
        raise UserError(
            f"the U-Net in {path} predicts {manifest['prediction']}, this run expects {prediction}; "
            f"--set generator.prediction={manifest['prediction']}"
        )
    for name, wanted in facts.items():
        if manifest.get(name) != wanted:
            raise UserError(
                f"the U-Net in {path} was trained with {name}={manifest.get(name)!r}, this run has {wanted!r}; "
                f"--set generator.{name}={manifest.get(name)}"
            )
    seen, train = set(manifest["train_ids"]), {str(i) for i in train_ids}
    leaked = seen & {str(i) for i in val_ids} or (seen - train if seen & train else set())
    if leaked:
        raise UserError(
            f"the U-Net in {path} was trained on {len(leaked)} images that this run holds out, first {min(leaked)!r}; "
            "train one on this split: --set generator.unet_path=none"
        )
    return manifest


def load_unet(path: str, *, size: int, channels: int, num_classes: int | None) -> Any:
    """A trained U-Net from a folder that diffusers' `save_pretrained` wrote; every key has to match.

    Raises DataError for a missing or unreadable folder, UserError where it was made for other images.
    """
    from diffusers import UNet2DModel
    from safetensors.torch import load_file

    folder = Path(path)
    if not (folder / "config.json").is_file() or not (folder / WEIGHTS).is_file():
        raise DataError(
            f"no trained U-Net in {folder}: expected config.json and {WEIGHTS}, as GuidedDDPM.save(folder) or "
            "diffusers' save_pretrained writes them; to train one in this run instead: --set generator.unet_path=none"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        unet = UNet2DModel.from_config(config)
        unet.load_state_dict(load_file(folder / WEIGHTS), strict=True)
    except Exception as error:
        raise DataError(f"the U-Net in {folder} cannot be read: {error}; train it anew") from error
    found = (unet.config.sample_size, unet.config.in_channels, unet.config.num_class_embeds)
    if found != (size, channels, num_classes):
        wanted = (size, channels, num_classes)
        raise UserError(
            f"the U-Net in {folder} is for (px, channels, classes) {found}, this run needs {wanted}; "
            f"set generator.size={found[0]}, the matching generator.conditioning, or another unet_path"
        )
    return unet
