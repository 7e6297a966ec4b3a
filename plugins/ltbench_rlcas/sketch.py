"""The sketch branch: a decoder on the encoder's features of a U-Net, there in training only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from ltbench_diffusion.unet import norm_groups
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ltbench.errors import ContractError


def sketch_loss(predicted: Tensor, target: Tensor, abar: Tensor) -> Tensor:
    """Batch mean of sqrt(abar) times the mean absolute error of a sketch, both (B, 1, H, W); abar (B,).

    Features of a very noisy image say little, hence the weight. ContractError for sketches of another size.
    """
    if predicted.shape != target.shape:
        raise ContractError(
            f"sketches have shape {tuple(target.shape)}, predicted are {tuple(predicted.shape)}; "
            "draw them at the size of the images that are learned"
        )
    return ((predicted - target).abs().flatten(1).mean(1) * abar.sqrt()).mean()


class SketchDecoder(nn.Module):
    """Sketch (B, 1, f H, f H) in [0, 1] from feature maps (B, widths[i], H / 2^i, H / 2^i), f a power of two.

    Each map to `hidden` channels, all to H px and concatenated, then transposed convolutions up to the image.
    """

    def __init__(self, widths: Sequence[int], factor: int, hidden: int = 64) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, hidden, 1) for width in widths)
        merge = nn.Conv2d(hidden * len(widths), hidden, 3, padding=1)
        self.merge = nn.Sequential(merge, nn.GroupNorm(norm_groups([hidden]), hidden), nn.SiLU())
        ups = [
            nn.Sequential(nn.ConvTranspose2d(hidden, hidden, 4, 2, 1), nn.SiLU()) for _ in range(int(math.log2(factor)))
        ]
        self.up = nn.Sequential(*ups)
        self.last = nn.Conv2d(hidden, 1, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps, the largest first -> sketch."""
        side = features[0].shape[2:]
        same = [
            interpolate(conv(x), size=side, mode="bilinear", align_corners=False)
            for conv, x in zip(self.lateral, features, strict=True)
        ]
        return torch.sigmoid(self.last(self.up(self.merge(torch.cat(same, 1)))).float())


class SketchedUNet(nn.Module):
    """A UNet2DModel that answers as before and keeps its encoder's features of the last call for the decoder."""

    def __init__(self, unet: Any, factor: int) -> None:
        super().__init__()
        self.unet = unet
        self.decoder = SketchDecoder(unet.config.block_out_channels, factor)
        self._features: list[Tensor] = []
        self._layers = unet.config.layers_per_block
        self._hooks = [block.register_forward_hook(self._keep) for block in unet.down_blocks]

    def _keep(self, block: nn.Module, inputs: Any, outputs: Any) -> None:
        self._features.append(outputs[1][self._layers - 1])  # of the last residual block, before down-sampling

    def forward(self, x: Tensor, t: Tensor, class_labels: Tensor | None = None) -> Any:
        """What the U-Net alone gives."""
        self._features.clear()
        return self.unet(x, t, class_labels=class_labels)

    def sketch(self) -> Tensor:
        """The sketch (B, 1, H, W) of the images of the last call."""
        features, self._features = self._features, []
        return self.decoder(features)

    def without_decoder(self) -> Any:
        """The U-Net as it was before, for sampling."""
        for hook in self._hooks:
            hook.remove()
        return self.unet
