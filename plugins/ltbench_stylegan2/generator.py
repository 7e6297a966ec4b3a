"""The generators `stylegan2` and `stylegan2-ada`: class-conditional StyleGAN2, its best snapshot kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import ContractError, NonFinite
from ltbench.interfaces import Context, Generator, Guide, ImageTable
from ltbench.models.drawing import Streams, TrainingRows, draw_images, wanted_labels
from ltbench.models.frames import Frame
from ltbench.models.images import to_signed
from ltbench.models.snapshots import Snapshots
from ltbench_stylegan2 import options
from ltbench_stylegan2.augment import UPRIGHT, Pipeline
from ltbench_stylegan2.discriminator import Discriminator
from ltbench_stylegan2.synthesis import GeneratorNetwork, truncate
from ltbench_stylegan2.training import Training

CENTRE_LATENTS = 10_000  # for the mean w of a class


class StyleGAN2(Generator):
    """Class-conditional StyleGAN2 (Karras et al. 2020, CVPR), with adaptive augmentation where `ada` is on.

    Of the fit: size in px, a power of two from 8 to 256 (None: nearest to the image's side, at most max_size); base and
    most, channels base / px up to `most`; latent, the width of z and w; layers and label_layers, depths of the two
    mapping networks; residual, the discriminator's skips; group of the minibatch deviation; kimg, length in thousand
    images; train_batch; lr; gamma of R1 (None: 0.0002 size^2 / batch); path_weight of the path length; style_mixing,
    its probability; ema_kimg, half-life of the average, and ema_ramp, its most as a share of the images seen (0: no
    ramp); label_power, classes drawn as n_k^power (1 as they are, 0 balanced); xflip, mirrored training images; ada
    (None: as the id says), pipeline (see `augment.Pipeline`; None: bgc, or without flips and turns where the protocol
    forbids them), ada_kimg (None: by kimg), ada_target, ada_ceiling; snapshot_kimg between snapshots (0: keep the last)
    and snapshot_images drawn for each. Of sampling: truncation psi, for the first truncation_cutoff layers (None: all),
    towards the mean w of the class or the global one (truncation_centre); noise "random", "const" or "none";
    sample_batch. A guide is ignored. Raises UserError for values out of range.
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
    conditional = True

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
        xflip: bool = False,
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
    ) -> None:
        values = {name: value for name, value in locals().items() if name != "self"}
        options.check(values)
        Pipeline(pipeline or "bgc")
        self.options = {**values, "ada": self.adaptive if ada is None else ada}
        self._notes: dict[str, float] = {}

    fit_options: ClassVar[frozenset[str] | None] = frozenset(__init__.__kwdefaults__ or {}) - options.SAMPLING

    def fit(self, table: ImageTable, context: Context) -> None:
        self.num_classes, self.device = context.task.num_classes, context.device
        self.frame = Frame.choose(table.images.shape[1:], self.options["size"], self.options["max_size"])
        self.channels = table.images.shape[3]
        rows = TrainingRows(table.labels, context.task.class_names, self.options["label_power"])
        o = self._resolved(context)
        snapshots = None
        if o["snapshot_kimg"]:
            snapshots = Snapshots(context.reference("features"), context.val, o["snapshot_images"])
            o["held_out"] = snapshots.key
        training = Training(*self._networks(o, context), o, Pipeline(o["pipeline"]) if o["ada"] else None, snapshots)
        images, labels = self.frame.enter(table.images).to(self.device), torch.as_tensor(table.labels).to(self.device)
        batch, total = o["train_batch"], max(1, -(-round(o["kimg"] * 1000) // o["train_batch"]))
        every = max(1, round(o["snapshot_kimg"] * 1000 / batch))

        for i in context.steps("gan", total, training, options=o):
            if training.stopped:
                continue
            chosen = rows.rows(batch).to(self.device)
            real = to_signed(images[chosen])
            if o["xflip"]:
                flip = torch.rand(batch, device=self.device) < 0.5
                real = torch.where(flip[:, None, None, None], real.flip(3), real)
            training.step(i, real, labels[chosen], lambda n: rows.labels(n).to(self.device), context.autocast)
            if snapshots and not training.stopped and ((i + 1) % every == 0 or i + 1 == total):
                self._snapshot(training)
        self._finish(training, snapshots)

    def _resolved(self, context: Context) -> dict[str, Any]:
        """The fit's options with their automatic values worked out, and the frame."""
        o = {name: value for name, value in self.options.items() if name not in options.SAMPLING}
        upright = not context.recipe["protocol"]["augment"].get("flip", True)
        o["pipeline"] = o["pipeline"] or (UPRIGHT if upright else "bgc")
        o["size"], o["padded"] = self.frame.size, self.frame.padded
        o["gamma"] = options.auto_gamma(o["size"], o["train_batch"]) if o["gamma"] is None else o["gamma"]
        o["ada_kimg"] = options.auto_ada_kimg(o["kimg"]) if o["ada_kimg"] is None else o["ada_kimg"]
        return o

    def _networks(self, o: Mapping[str, Any], context: Context) -> tuple[GeneratorNetwork, Discriminator]:
        shape, widths = (o["size"], self.channels, self.num_classes), {"base": o["base"], "most": o["most"]}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(context.rng("networks").integers(2**63)))
            g = GeneratorNetwork(*shape, latent=o["latent"], layers=o["layers"], **widths)
            d = Discriminator(*shape, layers=o["label_layers"], group=o["group"], residual=o["residual"], **widths)
        return g.to(self.device), d.to(self.device)

    def _snapshot(self, training: Training) -> None:
        """Offer the average for the best snapshot; one that draws unusable images is passed over."""
        labels = training.snapshots.labels
        try:
            images, _ = self._draw(training.average, labels, seed=0)
        except NonFinite:
            return
        training.snapshots.offer(images, training.average, training.images / 1000)

    def _finish(self, training: Training, snapshots: Snapshots | None) -> None:
        self.network, self.p = training.average, training.control.p
        self._fitted = {"ada_p": float(self.p), "kimg": training.images / 1000}
        advice = f"--set generator.gamma={5 * training.o['gamma']:g}, or lower generator.lr"
        if training.stopped:
            if snapshots is None or snapshots.best is None:
                raise NonFinite(f"{training.stopped}, before any good snapshot; try {advice}")
            text = f"{training.stopped}; kept the snapshot after {snapshots.kimg:g} thousand images. Try {advice}"
            warnings.warn(text, stacklevel=3)
            self._fitted["stopped_kimg"] = training.images / 1000
        if snapshots and snapshots.best is not None:
            self.network.load_state_dict(snapshots.best)
            self._fitted.update(snapshot_kimg=snapshots.kimg, snapshot_distance=snapshots.distance)
        self._centres: dict[int, Tensor] = {}

    def sample(
        self, counts: np.ndarray, *, guide: Guide | None, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        counts = np.asarray(counts)
        if counts.shape != (self.num_classes,) or (counts < 0).any():
            raise ContractError(f"counts must be ({self.num_classes},) and >= 0, got {counts}")
        labels = wanted_labels(counts)
        images, dropped = self._draw(self.network, labels, int(rng.integers(2**63)), self.options["truncation"])
        saturated = float(np.isin(images, (0, 255)).mean()) if len(images) else 0.0
        self._notes = {"saturated": saturated, "dropped": float(dropped)}
        return images, labels

    @torch.no_grad()
    def _draw(
        self, network: GeneratorNetwork, labels: np.ndarray, seed: int, psi: float = 1.0
    ) -> tuple[np.ndarray, int]:
        """Images uint8 (n, H, W, c) of labels (n,), and how many were drawn again."""
        streams, o = Streams(seed, labels), self.options

        def run(rows: np.ndarray, attempt: int) -> Tensor:
            def noise(layer: int, side: int) -> Tensor:
                return streams.normal(rows, (1, side, side), attempt, layer + 1).to(self.device)

            wanted = torch.as_tensor(labels[rows]).to(self.device)
            ws = network.styles(streams.normal(rows, (network.latent,), attempt, 0).to(self.device), wanted)
            if psi != 1:
                ws = truncate(ws, self._centre(network, wanted), psi, o["truncation_cutoff"])
            return self.frame.leave(network.synthesis(ws, noise if o["noise"] == "random" else o["noise"]))

        shape = (self.channels, self.frame.drawn, self.frame.drawn)
        hint = "which a collapsed generator draws; fit with another generator.gamma or longer (generator.kimg)"
        return draw_images(len(labels), shape, run, batch=o["sample_batch"], hint=hint)

    def _centre(self, network: GeneratorNetwork, wanted: Tensor) -> Tensor:
        """What truncation moves towards: the mean w of every wanted class (B, w), or the global one (w,)."""
        if self.options["truncation_centre"] == "global":
            return network.mapping.average
        for k in set(wanted.tolist()) - set(self._centres):
            z = torch.randn(CENTRE_LATENTS, network.latent, generator=torch.Generator().manual_seed(k)).to(self.device)
            self._centres[k] = network.mapping(z, torch.full((CENTRE_LATENTS,), k, device=self.device)).mean(0)
        return torch.stack([self._centres[k] for k in wanted.tolist()])

    def notes(self) -> dict[str, float]:
        """saturated: share of pixels at 0 or 255; dropped: images drawn again; and how the fit ended.

        kimg: thousand images trained on; snapshot_kimg, snapshot_distance: age and held-out distance of the weights in
        use; stopped_kimg: where training broke off; ada_p: last probability of the augmentation.
        """
        return {**self._notes, **self._fitted}


class StyleGAN2ADA(StyleGAN2):
    """StyleGAN2 with adaptive discriminator augmentation (Karras et al. 2020, NeurIPS); options as there."""

    adaptive = True
