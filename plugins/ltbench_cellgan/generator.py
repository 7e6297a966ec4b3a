"""The generator `cellgan`: a light class-conditional adversarial network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ltbench.interfaces import Context
from ltbench.models.adversarial import AdversarialGenerator
from ltbench.models.drawing import Streams
from ltbench_cellgan import options
from ltbench_cellgan.layers import rescale
from ltbench_cellgan.networks import CODE, CellDiscriminator, CellGenerator
from ltbench_cellgan.training import NETWORKS, CellTraining


class CellGAN(AdversarialGenerator):
    """CellGAN (Shen et al. 2023, MICCAI): FastGAN made class-conditional, with skip-layer global context.

    size in px, a power of two from 8 to 256 (None: nearest to the image's side, at most max_size); width, channels of
    the 256 px maps; context: the global-context blocks; class_norm: spectral norm in the generator's class path;
    start_gain, Xavier gain of normalised weights, which matters only beside lr; kimg, length in thousand images;
    train_batch; lr; ema, decay of the average, and ema_start, its first iteration; r1, weight of the penalty, and
    r1_every, iterations between its steps, whose weight is r1 r1_every; label_power, classes drawn as n_k^power (1 as
    they are, 0 balanced); hflip and vflip (None: as the protocol's augmentation); snapshot_kimg between snapshots (0:
    keep the last) and snapshot_images drawn for each; sample_batch (fewer on a CPU). Flaws of the public
    code, off: misaligned_crops, feature crops up to 15 px beside the image crops they rebuild; stale_average, an
    average that starts from the initial weights. Its R1 in every iteration is r1_every=1. pretrain: sources of images
    without labels (see `Context.pool`) for a first training of pretrain_kimg (None: as kimg) without classes. Labels of
    made images follow those of the real ones. A guide is ignored. Raises UserError for values out of range.
    """

    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = options.TIERS
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {
        "width": 2,
        "kimg": 0.04,
        "ema_start": 2,
        "snapshot_kimg": 0.02,
        "snapshot_images": 12,
    }
    sampling = options.SAMPLING

    def __init__(
        self,
        *,
        size: int | None = None,
        max_size: int = 64,
        width: int = 32,
        context: bool = True,
        class_norm: bool = True,
        start_gain: float = 0.02,
        kimg: float = 1000,
        train_batch: int = 64,
        lr: float = 2.5e-4,
        ema: float = 0.999,
        ema_start: int = 1000,
        r1: float = 0.01,
        r1_every: int = 16,
        label_power: float = 1.0,
        hflip: bool | None = None,
        vflip: bool | None = None,
        snapshot_kimg: float = 50.0,
        snapshot_images: int = 2000,
        misaligned_crops: bool = False,
        stale_average: bool = False,
        sample_batch: int = 256,
        pretrain: Sequence[str] | None = None,
        pretrain_kimg: float | None = None,
    ) -> None:
        self.options = {name: value for name, value in locals().items() if name != "self"}
        options.check(self.options)

    fit_options: ClassVar[frozenset[str] | None] = frozenset(__init__.__kwdefaults__ or {}) - options.SAMPLING

    def resolved(self, o: dict[str, Any], context: Context) -> dict[str, Any]:
        augment = context.recipe["protocol"]["augment"]
        for name, source in (("hflip", "flip"), ("vflip", "vertical_flip")):
            o[name] = bool(augment.get(source, False)) if o[name] is None else o[name]
        return o

    def game(self, o: Mapping[str, Any], context: Context) -> CellTraining:
        shape = (o["size"], self.channels, self.num_classes)
        g = CellGenerator(*shape, width=o["width"], context=o["context"], class_norm=o["class_norm"])
        d = CellDiscriminator(*shape, width=o["width"])
        for network in (g, d):
            rescale(network, o["start_gain"])
        return CellTraining(g.to(self.device), d.to(self.device), o)

    def adopt(self, training: CellTraining, before: CellTraining) -> None:
        """All weights: what only labels reach has had no gradient, so classes start from random weights."""
        for name in NETWORKS:
            getattr(training, name).load_state_dict(getattr(before, name).state_dict())

    def advice(self) -> str:
        return "lower generator.lr or raise generator.r1"

    def images(
        self, network: CellGenerator, streams: Streams, rows: np.ndarray, labels: Tensor, attempt: int
    ) -> Tensor:
        return network(streams.normal(rows, (CODE,), attempt).to(self.device), labels)
