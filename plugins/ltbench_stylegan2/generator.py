"""The generators `stylegan2` and `stylegan2-ada`: class-conditional StyleGAN2, its best snapshot kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import UserError
from ltbench.interfaces import Context
from ltbench.models.adversarial import AdversarialGenerator
from ltbench.models.drawing import Streams
from ltbench_stylegan2 import options
from ltbench_stylegan2.augment import UPRIGHT, Pipeline
from ltbench_stylegan2.discriminator import Discriminator
from ltbench_stylegan2.synthesis import GeneratorNetwork, truncate
from ltbench_stylegan2.training import NETWORKS, StyleGAN2Training
from ltbench_stylegan2.transfer import transfer, trunk

log = logging.getLogger("ltbench")
RESUMED_ADA_KIMG = 100.0
CENTRE_LATENTS = 10_000  # for the mean w of a class


class StyleGAN2(AdversarialGenerator):
    """Class-conditional StyleGAN2 (Karras et al. 2020, CVPR), with adaptive augmentation where `ada` is on.

    Of the fit: size in px, a power of two from 8 to 256 (None: nearest to the image's side, at most max_size); base and
    most, channels base / px up to `most`; latent, the width of z and w; layers and label_layers, depths of the two
    mapping networks; residual, the discriminator's skips; group of the minibatch deviation; kimg, length in thousand
    images; train_batch; lr; gamma of R1 (None: 0.0002 size^2 / batch); path_weight of the path length; style_mixing,
    its probability; ema_kimg, half-life of the average, and ema_ramp, its most as a share of the images seen (0: no
    ramp); label_power, classes drawn as n_k^power (1 as they are, 0 balanced); hflip and vflip, mirrored images; ada
    (None: as the id says), pipeline (see `augment.Pipeline`; None: bgc, or without flips and turns where the protocol
    forbids them), ada_kimg (None: by kimg), ada_target, ada_ceiling; snapshot_kimg between snapshots (0: keep the last)
    and snapshot_images drawn for each; pretrain, sources of images without labels (see `Context.pool`) for a first
    training of pretrain_kimg (None: as kimg) without classes, after which ema_ramp is off and ada_kimg, where it is
    None, at most 100; freeze_d, layers of the discriminator, from the image on, that keep its weights. Of sampling:
    truncation psi, for the first truncation_cutoff layers (None: all), towards the mean w of the class or the global
    one (truncation_centre); noise "random", "const" or "none"; sample_batch (fewer on a CPU). A guide is ignored.
    Raises UserError for values out of range.
    """

    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = options.TIERS
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {
        "base": 128,
        "most": 16,
        "latent": 16,
        "kimg": 0.04,
        "snapshot_kimg": 0.02,
        "snapshot_images": 12,
    }
    adaptive: ClassVar[bool] = False
    later_options: ClassVar[frozenset[str]] = AdversarialGenerator.later_options | {"freeze_d"}
    sampling = options.SAMPLING

    def __init__(
        self,
        *,
        size: int | None = None,
        max_size: int = 64,
        base: int = 8192,
        most: int = 256,
        latent: int = 512,
        layers: int = 2,
        label_layers: int = 8,
        residual: bool = True,
        group: int = 4,
        kimg: float = 500,
        train_batch: int = 32,
        lr: float = 2.5e-3,
        gamma: float | None = None,
        path_weight: float = 2.0,
        style_mixing: float = 0.9,
        ema_kimg: float = 10.0,
        ema_ramp: float = 0.05,
        label_power: float = 1.0,
        hflip: bool = False,
        vflip: bool = False,
        ada: bool | None = None,
        pipeline: str | None = None,
        ada_kimg: float | None = None,
        ada_target: float = 0.6,
        ada_ceiling: float = 0.8,
        snapshot_kimg: float = 50.0,
        snapshot_images: int = 2000,
        truncation: float = 1.0,
        truncation_cutoff: int | None = None,
        truncation_centre: str = "class",
        noise: str = "random",
        sample_batch: int = 256,
        pretrain: Sequence[str] | None = None,
        pretrain_kimg: float | None = None,
        freeze_d: int = 0,
    ) -> None:
        values = {name: value for name, value in locals().items() if name != "self"}
        options.check(values)
        Pipeline(pipeline or "bgc")
        self.options = {**values, "ada": self.adaptive if ada is None else ada}

    fit_options: ClassVar[frozenset[str] | None] = frozenset(__init__.__kwdefaults__ or {}) - options.SAMPLING

    def resolved(self, o: dict[str, Any], context: Context) -> dict[str, Any]:
        upright = not context.recipe["protocol"]["augment"].get("flip", True)
        o["pipeline"] = o["pipeline"] or (UPRIGHT if upright else "bgc")
        o["gamma"] = options.auto_gamma(o["size"], o["train_batch"]) if o["gamma"] is None else o["gamma"]
        most = RESUMED_ADA_KIMG if o["pretrain"] else None
        o["ada_kimg"] = options.auto_ada_kimg(o["kimg"], most) if o["ada_kimg"] is None else o["ada_kimg"]
        o["ema_ramp"] = 0.0 if o["pretrain"] else o["ema_ramp"]
        return o

    def game(self, o: Mapping[str, Any], context: Context) -> StyleGAN2Training:
        training = self._game(o, self.num_classes)
        layers = trunk(training.d)
        if (o["freeze_d"] or 0) > len(layers):
            raise UserError(
                f"generator.freeze_d must be at most {len(layers)}, the layers above 4 px of a discriminator for "
                f"{o['size']} px, got {o['freeze_d']}"
            )
        training.frozen = layers[: o["freeze_d"] or 0]
        return training

    def unlabelled_game(self, o: Mapping[str, Any], context: Context) -> StyleGAN2Training:
        return self._game(o, None)

    def adopt(self, training: StyleGAN2Training, before: StyleGAN2Training) -> None:
        for name in NETWORKS:
            left = transfer(getattr(training, name), getattr(before, name))
            log.info("not taken over from the pre-training of %s: %s", name, ", ".join(left) or "nothing")

    def _game(self, o: Mapping[str, Any], classes: int | None) -> StyleGAN2Training:
        shape, widths = (o["size"], self.channels, classes), {"base": o["base"], "most": o["most"]}
        g = GeneratorNetwork(*shape, latent=o["latent"], layers=o["layers"], **widths)
        d = Discriminator(*shape, layers=o["label_layers"], group=o["group"], residual=o["residual"], **widths)
        pipeline = Pipeline(o["pipeline"]) if o["ada"] else None
        self._centres: dict[int, Tensor] = {}
        return StyleGAN2Training(g.to(self.device), d.to(self.device), o, pipeline)

    def advice(self) -> str:
        return "raise generator.gamma fivefold or lower generator.lr"

    def images(
        self, network: GeneratorNetwork, streams: Streams, rows: np.ndarray, labels: Tensor, attempt: int
    ) -> Tensor:
        def noise(layer: int, side: int) -> Tensor:
            return streams.normal(rows, (1, side, side), attempt, layer + 1).to(self.device)

        o, fitted = self.options, network is getattr(self, "network", None)
        ws = network.styles(streams.normal(rows, (network.latent,), attempt, 0).to(self.device), labels)
        if not fitted:  # a snapshot: options of sampling, with which fits are shared, must not choose it
            return network.synthesis(ws, noise)
        if o["truncation"] != 1:
            ws = truncate(ws, self._centre(network, labels), o["truncation"], o["truncation_cutoff"])
        return network.synthesis(ws, noise if o["noise"] == "random" else o["noise"])

    def _centre(self, network: GeneratorNetwork, labels: Tensor) -> Tensor:
        """What truncation moves towards: the mean w of every label's class (B, w), or the global one (w,)."""
        if self.options["truncation_centre"] == "global":
            return network.mapping.average
        for k in set(labels.tolist()) - set(self._centres):
            z = torch.randn(CENTRE_LATENTS, network.latent, generator=torch.Generator().manual_seed(k)).to(self.device)
            self._centres[k] = network.mapping(z, torch.full((CENTRE_LATENTS,), k, device=self.device)).mean(0)
        return torch.stack([self._centres[k] for k in labels.tolist()])


class StyleGAN2ADA(StyleGAN2):
    """StyleGAN2 with adaptive discriminator augmentation (Karras et al. 2020, NeurIPS); options as of `stylegan2`."""

    adaptive = True
