"""The options of DiffMIC, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ltbench.errors import UserError
from ltbench.options import choice, number, whole
from ltbench_diffmic.chain import SAMPLERS, check_train_steps

STEPS = {"ham10000": 250, "busi": 100}  # of the paper, busi as its PMG2000; else 60 as its APTOS2019
PRIORS = ("fused", "global", "local", "none")


@dataclass(kw_only=True, eq=False)
class Options:
    """The options of `diffmic`, with the paper's values, checked.

    diffusion: false trains and asks the guide alone, for its prediction `prior`. prior, the centre of the chain:
    "fused", "global" or "local" prediction of the guide, or "none" (0; the guide is not built). prior_fusion: mean of
    logits or of probabilities. mmd: weight of the two discrepancies. train_steps T, steps N at inference (none: the
    paper's for the data set, 60 where it has none), sampler ("respaced", "ddim", "truncated"), samples S averaged.
    decision: "mean" of the label vectors, or "vote" of the entries nearest to one. width F. encoder and local: a
    backbone, "protocol" (the protocol's), local "auto" (the protocol's from 32 px on). rois crops of `crop` px (none:
    crop_share of the image, at least 8 px up to half of it), cut from roi_channels "all" or the "first";
    map_stride: px of a cell of the saliency map at most. lr with a warm-up of warmup_share of the epochs, then half a
    cosine, clipped at norm `clip`; guide_lr; ema: decay of a slow denoiser. warmup_epochs of the guide alone, then
    epoch_factor times the protocol's epochs; evaluate_every of these. eval_batch: images a batch at inference.
    """

    diffusion: bool = True
    prior: str = "fused"
    prior_fusion: str = "mean_logit"
    mmd: float = 0.5
    train_steps: int = 1000
    steps: int | None = None
    sampler: str = "respaced"
    samples: int = 1
    decision: str = "mean"
    width: int = 6144
    encoder: str = "resnet18"
    local: str = "auto"
    rois: int = 6
    crop: int | None = None
    crop_share: float = 1 / 7
    map_stride: int = 32
    roi_channels: str = "all"
    lr: float = 1e-3
    guide_lr: float = 2e-4
    warmup_share: float = 0.04
    clip: float = 1.0
    ema: float = 0.0
    warmup_epochs: int = 10
    epoch_factor: int = 1
    evaluate_every: int = 1
    eval_batch: int = 256

    def __post_init__(self) -> None:
        def named(name: str) -> tuple[str, Any]:
            return f"classifier.{name}", getattr(self, name)

        check_train_steps(self.train_steps)
        if self.steps is not None:
            whole(*named("steps"), 1, self.train_steps)
        for name, known in (
            ("diffusion", (True, False)),
            ("prior", PRIORS),
            ("prior_fusion", ("mean_logit", "mean_prob")),
            ("sampler", SAMPLERS),
            ("decision", ("mean", "vote")),
            ("roi_channels", ("all", "first")),
        ):
            choice(*named(name), known)
        if not self.diffusion and self.prior == "none":
            raise UserError(
                'classifier.diffusion=false asks the guide alone, and classifier.prior="none" builds none; '
                "use --set classifier.prior=fused"
            )
        for name in ("encoder", "local"):
            if not isinstance(getattr(self, name), str):
                raise UserError(
                    f"classifier.{name} must be the name of a backbone, got {getattr(self, name)!r}; "
                    f"for example --set classifier.{name}=resnet18"
                )
        for name in ("samples", "width", "rois", "map_stride", "epoch_factor", "evaluate_every", "eval_batch"):
            whole(*named(name), 1)
        if self.crop is not None:
            whole(*named("crop"), 1)
        whole(*named("warmup_epochs"), 0)
        number(*named("mmd"), 0)
        for name in ("lr", "guide_lr", "clip"):
            number(*named(name), 0, ends="()")
        number(*named("crop_share"), 0, 1, ends="(]")
        for name in ("warmup_share", "ema"):
            number(*named(name), 0, 1, ends="[)")

    @property
    def branches(self) -> bool:
        """Whether the global and local priors have noise branches of their own."""
        return self.diffusion and self.mmd > 0 and self.prior != "none"
