"""Guide and denoiser as the options and the protocol want them."""

from __future__ import annotations

import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.interfaces import Context
from ltbench.models.nets import build_backbone
from ltbench_diffmic.denoiser import Denoiser, Encoder
from ltbench_diffmic.guide import DualGuide, check_room
from ltbench_diffmic.options import Options
from ltbench_diffmic.trunk import build_trunk, shape_of

RESNET_FROM = 32  # px; below, a crop is read by a small network


def build_guide(options: Options, context: Context, channels: int) -> DualGuide:
    """The dual guide; UserError where the images are too small for its map and crops."""
    protocol, size = context.recipe["protocol"], context.task.image_shape[0]
    path = getattr(context, "weights_path", None)
    crop = options.crop or max(round(size * options.crop_share), min(8, size // 2))
    if not 0 < crop <= size:
        raise UserError(f"classifier.crop must lie in 1..{size}, the image size, got {crop}")
    trunk = build_trunk(protocol["backbone"], channels, size, options.map_stride, protocol["weights"], path)
    check_room(shape_of(trunk, channels, size)[2:], size, trunk.stride, crop, options.rois)
    small = "small_resnet" if crop < RESNET_FROM else protocol["backbone"]
    name = {"auto": small, "protocol": protocol["backbone"]}.get(options.local, options.local)
    weights = "none" if name.startswith("small") else protocol["weights"]
    local = build_backbone(name, channels, crop, weights, path if name == protocol["backbone"] else None)
    features = width_of(local, channels, crop)
    return DualGuide(trunk, local, features, context.task.num_classes, crop, options.rois, options.roi_channels)


def build_denoiser(options: Options, context: Context, channels: int) -> nn.ModuleDict:
    """{"encoder", "noise"}: random weights, as in the release."""
    size, name = context.task.image_shape[0], options.encoder
    name = context.recipe["protocol"]["backbone"] if name == "protocol" else name
    backbone = build_backbone(name, channels, size, "none", None)
    encoder = Encoder(backbone, width_of(backbone, channels, size), options.width)
    if options.branches:  # one pass stands for the three of the release, whose statistics moved three times
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
                module.momentum = 1 - (1 - module.momentum) ** 3
    noise = Denoiser(context.task.num_classes, options.width, options.train_steps, guided=options.prior != "none")
    return nn.ModuleDict({"encoder": encoder, "noise": noise})


@torch.no_grad()
def width_of(backbone: nn.Module, channels: int, size: int) -> int:
    """Features of a backbone for images of `size` px."""
    training = backbone.training
    backbone.eval()
    found = backbone(torch.zeros(1, channels, size, size))
    backbone.train(training)
    return int(found.shape[1])
