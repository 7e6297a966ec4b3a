"""The generator `synclass`: class-conditional latent diffusion whose encoder may learn sketches as well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from ltbench_diffusion.ddpm import OWN_FIT
from ltbench_diffusion.examples import Examples
from ltbench_diffusion.label_options import FIT
from ltbench_diffusion.ldm import AUTOENCODER, LDM, SAME
from ltbench_diffusion.schedules import SCHEDULES, alphas_cumprod
from torch import Tensor

from ltbench.interfaces import Context, ImageTable
from ltbench.options import choice, number
from ltbench_rlcas import edges as sketches
from ltbench_rlcas.sketch import SketchedUNet, sketch_loss

PIXELS_BELOW = 64  # px
OWN = ("autoencoder", "sketch", "sketch_weight", "edges", "edges_sigma")


class SynClass(LDM):
    """Class-conditional latent diffusion (MICCAI 2025, Breast-LT-GenAug, sections 2.1 and 2.2), on pixels below 64 px.

    sketch: in training, a decoder predicts an edge sketch of the image from the encoder's features of its noisy latent;
    its L1 error, times sqrt(abar_t), joins the loss with sketch_weight; sampling goes without it. edges: "sobel" (of
    the image blurred by edges_sigma px), "canny" or "pidinet" with its weights in edges_path. autoencoder: "auto", "kl"
    or "identity" (pixels). schedule "auto": scaled-linear for latents, linear for pixels. Other options as in `ldm`;
    x0 is clamped for pixels. Raises the errors of `ldm`, UserError for extractors that cannot be used, DataError for
    missing weights.
    """

    version = 1
    bound = 1.0
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {**SAME["tiny"], "prediction": "v_prediction"},
        "base": {**SAME["base"], "prediction": "v_prediction"},
        "paper": {
            **SAME["paper"],
            "widths": [128, 256, 384, 512],
            "attention": 16,
            "dropout": 0.0,
            "lr": 1e-4,
            "ema": 0.999,
            "train_steps": 24_600,  # 200 epochs of the paper's 3,935 images
            "train_batch": 32,
            "ae_widths": [128, 256, 512, 512],
            "latent_channels": 4,
            "steps": 50,
        },
    }
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {**LDM.TEST_OPTIONS, "sketch": True, "autoencoder": "kl"}
    fit_options: ClassVar[frozenset[str] | None] = FIT | OWN_FIT | AUTOENCODER | set(OWN)

    def __init__(
        self,
        *,
        sketch: bool = False,
        sketch_weight: float = 0.1,
        edges: str = "sobel",
        edges_sigma: float = 1.0,
        edges_path: str | None = None,
        autoencoder: str = "auto",
        ae_widths: Sequence[int] = (16, 32),
        latent_channels: int = 4,
        ae_steps: int = 600,
        ae_batch: int = 32,
        ae_lr: float = 1e-3,
        kl_weight: float = 1e-6,
        schedule: str = "auto",
        zero_snr: bool = False,
        prediction: str = "epsilon",
        min_snr: float | None = None,
        p_uncond: float = 0.1,
        label_power: float = 0.5,
        size: int | None = None,
        max_size: int = 32,
        widths: Sequence[int] = (32, 32, 64),
        blocks: int = 1,
        attention: int = 4,
        dropout: float = 0.0,
        train_steps: int = 258,
        train_batch: int = 128,
        lr: float = 2e-3,
        warmup: int = 20,
        ema: float = 0.999,
        flip: bool | None = None,
        sampler: str = "dpm++",
        steps: int = 20,
        eta: float = 0.0,
        cfg: float = 2.0,
        sample_batch: int = 256,
    ) -> None:
        values = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        choice("generator.sketch", sketch, (True, False))
        choice("generator.autoencoder", autoencoder, ("auto", "kl", "identity"))
        choice("generator.schedule", schedule, ("auto", *SCHEDULES))
        number("generator.sketch_weight", sketch_weight, example=0.1)
        sketches.check(edges, edges_sigma, edges_path)
        own = {name: values.pop(name) for name in (*OWN, "edges_path")}
        super().__init__(**{**values, "schedule": "linear" if schedule == "auto" else schedule})
        self.options |= own | {"schedule": schedule}
        self.latent_options = self.autoencoder_options

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "schedule": self.schedule}

    def examples(self, table: ImageTable, context: Context) -> Examples:
        o = self.options
        side = o["size"] or min(max(table.images.shape[1:3]), o["max_size"])
        pixels = {"kl": False, "identity": True, "auto": side < PIXELS_BELOW}[o["autoencoder"]]
        self.autoencoder_options = replace(self.latent_options, widths=()) if pixels else self.latent_options
        self.schedule = ("linear" if pixels else "scaled-linear") if o["schedule"] == "auto" else o["schedule"]
        self.abar = alphas_cumprod(self.schedule, zero_snr=o["zero_snr"])
        o["clip"] = pixels
        return super().examples(table, context)

    def targets(self, table: ImageTable, context: Context) -> Tensor | None:
        o = self.options
        if not o["sketch"]:
            return None
        extractor = sketches.build_edges(
            o["edges"], sigma=o["edges_sigma"], path=o["edges_path"], device=context.device
        )
        self.edges = extractor.facts
        return sketches.sketches_of(table.images, self.side, extractor, context)

    def data_key(self) -> dict[str, Any]:
        return {**super().data_key(), **({"sketches": self.edges} if self.options["sketch"] else {})}

    def network(self) -> Any:
        unet = super().network()
        return SketchedUNet(unet, self.autoencoder_options.factor) if self.options["sketch"] else unet

    def objective(self, net: Any, x0: Tensor, labels: Tensor, target: Tensor | None = None) -> Tensor:
        loss, abar = self.denoising(net, x0, labels)
        if target is None:
            return loss
        return loss + self.options["sketch_weight"] * sketch_loss(net.sketch(), target, abar.float())

    def train(self, examples: Examples, context: Context) -> Any:
        net = super().train(examples, context)
        return net.without_decoder() if self.options["sketch"] else net
