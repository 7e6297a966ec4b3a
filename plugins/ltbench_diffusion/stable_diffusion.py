"""The parts of a local Stable Diffusion folder, never from the network, and a U-Net that is told classes as prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ltbench.errors import DataError, UserError
from ltbench_diffusion.schedules import PREDICTIONS

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


@dataclass
class StableDiffusion:
    """unet and vae of the folder, prompts (n, L, d) embedded by its text encoder; abar (T,) and prediction of its
    scheduler; content, a hash of the weights.
    """

    unet: Any
    vae: Any
    prompts: Tensor
    abar: Tensor
    prediction: str
    content: str

    @property
    def factor(self) -> int:
        """Pixels of an image per pixel of a latent."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 1 or 3, H, W) in [-1, 1] -> mean and sd of the scaled latents, each (B, zc, h, w)."""
        colour = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x
        posterior, scale = self.vae.encode(colour).latent_dist, self.vae.config.scaling_factor
        return posterior.mean * scale, posterior.std * scale

    def decode(self, z: Tensor) -> Tensor:
        """Scaled latents -> images (B, 3, H, W), nominally in [-1, 1]."""
        return self.vae.decode(z / self.vae.config.scaling_factor).sample


class Prompted(nn.Module):
    """A text-conditional U-Net called with class numbers; row k of the prompts (K + 1, L, d) is told for class k."""

    prompts: Tensor

    def __init__(self, unet: Any, prompts: Tensor) -> None:
        super().__init__()
        self.unet = unet
        self.register_buffer("prompts", prompts)

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor) -> Any:
        """x (B, zc, h, w), t (B,), class_labels (B,) -> an output with .sample (B, zc, h, w)."""
        return self.unet(x, t, encoder_hidden_states=self.prompts[class_labels])


def load_stable_diffusion(folder: str | None, prompts: Sequence[str], device: torch.device) -> StableDiffusion:
    """Read a folder that diffusers' StableDiffusionPipeline.save_pretrained wrote and embed the prompts.

    DataError for a missing, incomplete or unreadable folder, UserError without transformers.
    """
    path = Path(folder) if folder else None
    if path is None or not all((path / part).is_dir() for part in PARTS):
        lacks = "" if path is None else f" ({', '.join(p for p in PARTS if not (path / p).is_dir())} missing)"
        raise DataError(
            f"skin-sdm needs the weights of Stable Diffusion in a local folder with {', '.join(PARTS)}, as diffusers' "
            f"StableDiffusionPipeline saves them; generator.weights is {folder!r}{lacks}; name it with --set "
            "generator.weights=FOLDER, or use the generator skin-sdm-scratch, which needs none"
        )
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise UserError("skin-sdm needs the package transformers: pip install 'ltbench[skin-sdm]'") from error
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

    local: dict[str, Any] = {"local_files_only": True, "low_cpu_mem_usage": False}
    try:
        unet: Any = UNet2DConditionModel.from_pretrained(path, subfolder="unet", torch_dtype=torch.float32, **local)
        vae: Any = AutoencoderKL.from_pretrained(path, subfolder="vae", torch_dtype=torch.float32, **local)
        text: Any = CLIPTextModel.from_pretrained(path / "text_encoder", local_files_only=True).float()
        tokenizer: Any = CLIPTokenizer.from_pretrained(path / "tokenizer", local_files_only=True)
        scheduler: Any = DDIMScheduler.from_pretrained(path, subfolder="scheduler", local_files_only=True)
    except Exception as error:
        raise DataError(f"the Stable Diffusion weights in {path} cannot be read: {error}; get them anew") from error
    prediction = scheduler.config.prediction_type
    if prediction not in PREDICTIONS:
        raise DataError(f"the weights in {path} predict {prediction!r}; skin-sdm knows {', '.join(PREDICTIONS)}")
    length = min(tokenizer.model_max_length, text.config.max_position_embeddings)
    tokens = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    with torch.no_grad():
        told = text.eval()(tokens.input_ids)[0]
    return StableDiffusion(
        unet=unet.to(device),
        vae=vae.to(device).eval().requires_grad_(False),
        prompts=told.to(device),
        abar=scheduler.alphas_cumprod.double(),
        prediction=prediction,
        content=_content(path),
    )


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    for part in PARTS:
        for file in sorted((path / part).iterdir()):
            if file.is_file():
                digest.update(file.name.encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
