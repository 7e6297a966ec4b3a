"""Guide and denoiser as the options and the protocol want them."""

from __future__ import annotations

import torch
from torch import nn

from ltbench.errors import UserError
from ltbench.interfaces import Context
from ltbench.models.nets import build_backbone
from ltbench_diffmic.denoiser import Denoiser, Encoder
from ltbench_diffmic.guide import DualGuide, places
from ltbench_diffmic.options import Options
from ltbench_diffmic.trunk import build_trunk, shape_of

RESNET_FROM = 32  # px; below, a crop is read by a small network
LARGEST = 1024  # px, up to which a size is looked for that gives room


def build_guide(options: Options, context: Context, channels: int) -> DualGuide:
    """The dual guide; UserError where the images are too small for its map and crops."""
    protocol, size = context.recipe["protocol"], context.task.image_shape[0]
    path = getattr(context, "weights_path", None)
    crop = crop_of(options, size)
    if not 0 < crop <= size:
        raise UserError(
            f"classifier.crop must lie in 1..{size}, the image size, got {crop}; --set classifier.crop={size // 2}"
        )
    trunk = build_trunk(protocol["backbone"], channels, size, options.map_stride, protocol["weights"], path)
    check_room(options, protocol["backbone"], channels, size, shape_of(trunk, channels, size)[2:])
    small = "small_resnet" if crop < RESNET_FROM else protocol["backbone"]
    name = {"auto": small, "protocol": protocol["backbone"]}.get(options.local, options.local)
    weights = "none" if name.startswith("small") else protocol["weights"]
    own = "local" if options.local not in ("auto", "protocol") else None
    local = backbone_of(own, name, channels, crop, weights, path if name == protocol["backbone"] else None)
    features = width_of(local, channels, crop)
    return DualGuide(trunk, local, features, context.task.num_classes, crop, options.rois, options.roi_channels)


def build_denoiser(options: Options, context: Context, channels: int) -> nn.ModuleDict:
    """{"encoder", "noise"}: random weights, as in the release."""
    size, name = context.task.image_shape[0], options.encoder
    name = context.recipe["protocol"]["backbone"] if name == "protocol" else name
    own = "encoder" if options.encoder != "protocol" else None
    backbone = backbone_of(own, name, channels, size, "none", None)
    encoder = Encoder(backbone, width_of(backbone, channels, size), options.width)
    if options.branches:  # one pass stands for the three of the release, whose statistics moved three times
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
                module.momentum = 1 - (1 - module.momentum) ** 3
    noise = Denoiser(context.task.num_classes, options.width, options.train_steps, guided=options.prior != "none")
    return nn.ModuleDict({"encoder": encoder, "noise": noise})


def crop_of(options: Options, size: int) -> int:
    """Side of a crop in images of `size` px."""
    return options.crop or max(round(size * options.crop_share), min(8, size // 2))


def check_room(options: Options, name: str, channels: int, size: int, shape: torch.Size) -> None:
    """Raise UserError where a map (h, w) has fewer places than there are crops, naming the smallest size that works."""
    found = places(shape, size, crop_of(options, size))
    if found >= options.rois:
        return
    larger = next((n for n in range(size + 1, LARGEST + 1) if room(options, name, channels, n) >= options.rois), None)
    way = f"the smallest size that works is {larger} px (--set protocol.image_size={larger}), or " if larger else ""
    raise UserError(
        f"diffmic's guide has a map of {shape[0]} x {shape[1]} cells for images of {size} px, room for {found} crops "
        f"of {crop_of(options, size)} px, but classifier.rois={options.rois}; {way}use --set classifier.rois={found}"
    )


def room(options: Options, name: str, channels: int, size: int) -> int:
    """Places of a crop in images of `size` px, from shapes alone; 0 where they are too small for the backbone."""
    with torch.device("meta"):
        try:
            trunk = build_trunk(name, channels, size, options.map_stride, "none", None)
        except UserError:
            return 0
        return places(shape_of(trunk, channels, size)[2:], size, crop_of(options, size))


def backbone_of(option: str | None, name: str, channels: int, size: int, weights: str, path: str | None) -> nn.Module:
    """A backbone; a UserError names the classifier's own option, None: the protocol's."""
    try:
        return build_backbone(name, channels, size, weights, path)
    except UserError as error:
        if option is None:
            raise
        raise UserError(str(error).replace("protocol.backbone", f"classifier.{option}")) from error


@torch.no_grad()
def width_of(backbone: nn.Module, channels: int, size: int) -> int:
    """Features of a backbone for images of `size` px."""
    training = backbone.training
    backbone.eval()
    found = backbone(torch.zeros(1, channels, size, size))
    backbone.train(training)
    return int(found.shape[1])
