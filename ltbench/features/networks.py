"""Features of trained networks: a backbone from a file, and the Inception of 2015 through torch-fidelity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltbench.errors import UserError
from ltbench.features.base import Extractor, rgb
from ltbench.metrics.naming import INCEPTION_2015
from ltbench.models.images import resized
from ltbench.models.nets import build_backbone
from ltbench.models.precision import full_precision
from ltbench.results.files import sha256

MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet


class Backbone(Extractor):
    """Pooled features of a timm network with weights from a .safetensors file, at 224 px; never called FID."""

    batch = 64

    def __init__(self, arch: str, path: Path, device: torch.device) -> None:
        if not path.is_file():
            raise UserError(f"weights file {str(path)!r} does not exist; give --extractor tv-{arch}:FILE.safetensors")
        self.weights, self.device = sha256(path), device
        self.name = f"tv-{arch}-{self.weights[:8]}"
        self.preprocess = "224 px antialiased bilinear, ImageNet mean and sd, RGB, float32"
        self.network = build_backbone(arch, 3, 224, "none", str(path)).eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def some(self, images: np.ndarray) -> np.ndarray:
        x = resized(rgb(images), (224, 224)).to(self.device).float() / 255.0
        mean, sd = (torch.tensor(v, device=self.device).view(1, 3, 1, 1) for v in (MEAN, SD))
        with full_precision():
            return self.network((x - mean) / sd).double().cpu().numpy()


class Inception2015(Extractor):
    """The 2048 pooled features of TensorFlow's Inception of 2015, resized as TensorFlow 1 did: those of FID.

    path: the published weights, None: torch-fidelity's download. UserError for a file with another hash, unless
    `stand_in`: the features are then called stand-in-HASH, and no distance in them FID.
    """

    batch = 32
    preprocess = "299 px bilinear of TensorFlow 1 (no antialias), (x - 128) / 128, RGB, float32"

    def __init__(self, path: Path | None, device: torch.device, *, stand_in: bool = False) -> None:
        network_class = _network_class()
        path = path or _downloaded()
        if not path.is_file():
            raise UserError(f"Inception weights {str(path)!r} do not exist; give --extractor fid:FILE.pth")
        self.weights, self.device = sha256(path), device
        if stand_in and self.weights == INCEPTION_2015:
            raise UserError(f"{path} holds the published weights of FID; use --extractor fid:{path}")
        if not stand_in and self.weights != INCEPTION_2015:
            raise UserError(
                f"{path} is not the Inception of 2015 that FID means: sha256 {self.weights[:8]}..., expected "
                f"{INCEPTION_2015[:8]}...; measure in other weights with --extractor stand-in:{path}"
            )
        self.name = f"stand-in-{self.weights[:8]}" if stand_in else "inception-2015-legacy"
        try:
            torch.load(path, map_location="cpu", weights_only=True)  # torch-fidelity's own load would run any pickle
            network = network_class("inception", ["2048"], feature_extractor_weights_path=str(path))
        except Exception as error:
            raise UserError(f"{path} holds no Inception weights for torch-fidelity: {error}") from error
        self.network: Any = network.eval().to(device)

    @torch.no_grad()
    def some(self, images: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(np.array(rgb(images))).permute(0, 3, 1, 2).contiguous().to(self.device)
        with full_precision():
            return self.network(x)[0].double().cpu().numpy()


def _network_class() -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise UserError("the Inception of FID needs torch-fidelity: pip install 'ltbench[fid]'") from error
    return FeatureExtractorInceptionV3


def _downloaded() -> Path:
    """The published weights in torch's cache folder, fetched where they are missing."""
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    path = Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(URL_INCEPTION_V3, str(path), hash_prefix=INCEPTION_2015[:8], progress=False)
        except Exception as error:
            raise UserError(
                f"the weights of FID cannot be downloaded ({type(error).__name__}: {error}); fetch {URL_INCEPTION_V3} "
                "and give --extractor fid:FILE, or use another extractor"
            ) from error
    return path
