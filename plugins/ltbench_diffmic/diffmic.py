"""DiffMIC: an image is classified by denoising a label vector around what a dual guide says (Yang et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ltbench.errors import NonFinite, UserError
from ltbench.interfaces import Batch, Batches, Classifier, Context, Stage
from ltbench.models.standard import input_channels, normalisation, normalised
from ltbench.models.twins import copy_buffers, follow, slow_twin
from ltbench_diffmic.chain import Plan, alpha_bars, antithetic, forward
from ltbench_diffmic.denoiser import Denoiser
from ltbench_diffmic.discrepancy import mmd
from ltbench_diffmic.guide import DualGuide, Logits, log_priors, priors
from ltbench_diffmic.networks import build_denoiser, build_guide
from ltbench_diffmic.options import STEPS, Options
from ltbench_diffmic.trunk import full


class DiffMIC(Options, Classifier):
    """Dual-guidance diffusion over label vectors (Yang et al. 2023), with the options of `Options`."""

    SEARCH: ClassVar[Mapping[str, Any]] = {
        "lr": ("log", 1e-4, 1e-2),
        "guide_lr": ("log", 2e-5, 5e-3),
        "mmd": ("linear", 0.1, 1.0),
    }
    version: ClassVar[int] = 1
    TIERS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "width": 256,
            "steps": 20,
            "encoder": "protocol",
            "map_stride": 8,
            "crop_share": 0.25,
            "guide_lr": 1e-3,
            "warmup_epochs": 2,
            "epoch_factor": 2,
        },
        "base": {"width": 1024, "steps": 60, "map_stride": 16, "crop_share": 0.25, "warmup_epochs": 3},
        "paper": {"roi_channels": "first", "evaluate_every": 10},
    }
    TEST_OPTIONS: ClassVar[Mapping[str, Any]] = {"width": 16, "warmup_epochs": 1, "epoch_factor": 1, "train_steps": 10}
    slots = frozenset()
    owns: ClassVar[Mapping[str, str]] = {
        "optimizer": "Adam at classifier.lr for the denoiser and at classifier.guide_lr for the guide",
        "schedule": "warm-up and half a cosine for the denoiser, a constant rate for the guide",
    }

    def setup(self, context: Context) -> None:
        self.task, self.device, self.autocast = context.task, context.device, context.autocast
        self.channels = input_channels(context)
        self.mean, self.std = (
            torch.tensor(value, device=context.device).view(1, -1, 1, 1) for value in normalisation(context)
        )
        place = getattr(context, "policy", None)
        nets = nn.ModuleDict()
        if self.prior != "none":
            nets["guide"] = build_guide(self, context, self.channels)
        if self.diffusion:
            nets.update(dict(build_denoiser(self, context, self.channels)))
        self.nets = place.place(nets) if place is not None else nets.to(context.device)
        self.slow = slow_twin(self.nets) if self.ema and self.diffusion else None
        self.table = alpha_bars(self.train_steps)
        self.published = min(STEPS.get(context.recipe["dataset"]["name"], 60), self.train_steps)
        self.alpha_bar = torch.tensor(self.table, dtype=torch.float32, device=self.device)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        if "guide" in nets:
            self.optimizers["guide"] = torch.optim.Adam(nets["guide"].parameters(), lr=self.guide_lr, amsgrad=True)
        self.joint, self.epochs = True, 1

    def stages(self, epochs: int) -> list[Stage]:
        warm = self.warmup_epochs if self.prior != "none" else 0
        joint = Stage("joint", epochs * self.epoch_factor, evaluate_every=self.evaluate_every)
        return [Stage("warm-up", warm, evaluate_every=warm, select=False), joint] if warm else [joint]

    def start_stage(self, stage: Stage, context: Context) -> None:
        self.joint, self.epochs = stage.name == "joint", stage.epochs
        if self.diffusion and self.joint:
            self.optimizers["denoiser"] = torch.optim.Adam(self._denoising(), lr=self.lr)

    def train_epoch(self, batches: Batches, context: Context) -> dict[str, Any]:
        totals = {"loss": 0.0, "guide_loss": 0.0}
        sums = {name: torch.zeros((), device=self.device) for name in totals}
        seen = 0
        for step, batch in enumerate(batches):
            x = self.prepare(batch.images)
            if self.diffusion and self.joint:
                sums["loss"] += self._denoise(x, batch, batch.epoch + step / len(batches)) * len(x)
            if "guide" in self.nets:
                sums["guide_loss"] += self._teach(x, batch.labels) * len(x)
            seen += len(x)
        log = {name: float(value) / max(seen, 1) for name, value in sums.items()}
        for name, value in log.items():
            if not math.isfinite(value):
                option = "guide_lr" if name == "guide_loss" else "lr"
                smaller = getattr(self, option) / 10
                raise NonFinite(f"{name} became {value}; lower the rate: --set classifier.{option}={smaller:g}")
        return {**log, "images": seen} if self.diffusion and self.joint else {"loss": log["guide_loss"], "images": seen}

    def _teach(self, x: Tensor, labels: Tensor) -> Tensor:
        """One step of the guide: cross-entropy of its fused logits."""
        guide, optimizer = self.guide.train(), self.optimizers["guide"]
        with self.autocast():
            logits = guide(x)
        loss = F.cross_entropy(logits.fused, labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def _denoise(self, x: Tensor, batch: Batch, now: float) -> Tensor:
        """One step of the denoiser at time `now` in epochs; the guide gets no gradient from it."""
        means = self._means(x)
        self.nets["encoder"].train()
        noise_net = self.noise_net.train()
        with self.autocast():
            e = full(self.nets["encoder"](x))
        n, classes = len(x), self.task.num_classes
        draws = torch.randint(0, self.train_steps, (n // 2 + 1,))
        t = antithetic(draws, self.train_steps, n).to(self.device)
        noise = torch.randn(n, classes).to(self.device)
        y0 = F.one_hot(batch.labels, classes).float()
        alpha_bar = self.alpha_bar[t][:, None]

        def guess(prior: Tensor) -> Tensor:
            return noise_net(e, forward(y0, prior, noise, alpha_bar), prior, t)  # type: ignore[no-any-return]

        loss = F.mse_loss(guess(self._centre(means)), noise)
        if self.branches:
            apart = mmd(noise, guess(means.globally)) + mmd(noise, guess(means.locally))
            loss = loss + self.mmd * apart
        optimizer, parameters = self.optimizers["denoiser"], self._denoising()
        for group in optimizer.param_groups:
            group["lr"] = rate(self.lr, now, self.warmup_share * self.epochs, self.epochs)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, self.clip)
        optimizer.step()
        if self.slow is not None:
            follow(self.slow, self.nets, self.ema)
            copy_buffers(self.slow, self.nets)
        return loss.detach()

    @torch.no_grad()
    def predict(self, images: np.ndarray, context: Context) -> np.ndarray:
        means, states = self.denoised(images, context)
        if states is None:
            return self._centre(means).cpu().numpy()
        y0 = states[-1]  # (n, S, C)
        if self.decision == "vote":
            near = (y0 - 1).abs().argmin(2)
            return F.one_hot(near, y0.shape[2]).float().mean(1).cpu().numpy()
        return on_simplex(y0.mean(1)).cpu().numpy()

    @torch.no_grad()
    def denoised(self, images: np.ndarray, context: Context) -> tuple[Logits, Tensor | None]:
        """The priors (n, C), and the states (N + 1, n, S, C) of S chains an image; None where none runs.

        Guide and encoder see an image once. The noise depends on the clock of `context` and the place in `images`.
        """
        nets: Any = self.slow if self.slow is not None else self.nets
        nets.eval()
        self.nets.eval()
        runs = self.diffusion and self.joint
        plan = Plan.of(self.sampler, self.steps or self.published, self.table)
        shape = (len(images), len(plan.indices), self.samples, self.task.num_classes)
        noise = torch.randn(shape, generator=context.torch_rng("chain")) if runs else torch.empty(0)
        found: list[Logits] = []
        states = []
        for start in range(0, len(images), self.eval_batch):
            raw = torch.tensor(images[start : start + self.eval_batch]).to(self.device)
            x = self.prepare(raw.permute(0, 3, 1, 2).float() / 255)
            found.append(self._means(x))
            if runs:
                with self.autocast():
                    e = full(nets["encoder"](x))
                drawn = noise[start : start + len(x)].to(found[-1].fused)
                states.append(self._chains(nets["noise"], plan, e, self._centre(found[-1]), drawn))
        means = Logits(*(torch.cat(parts) for parts in zip(*found, strict=True)))
        return means, torch.cat(states, 1) if runs else None

    def _chains(self, net: Any, plan: Plan, e: Tensor, prior: Tensor, noise: Tensor) -> Tensor:
        """States (N + 1, b, S, C) of chains around prior (b, C) for embeddings e (b, F) and noise (b, N, S, C)."""
        many = noise.shape[2]
        e, prior = e.repeat_interleave(many, 0), prior.repeat_interleave(many, 0)
        tables = net.tables(torch.as_tensor(plan.indices.copy(), device=self.device))
        constant = net.constant(prior)
        drawn = noise.transpose(0, 1).flatten(1, 2)
        states = plan.run(lambda i, y: net.at(tables, i, e, constant, y), prior, drawn)
        return states.unflatten(1, (-1, many))

    def _means(self, x: Tensor) -> Logits:
        """The guide's probabilities for normalised images, zeros without a guide; no gradient."""
        if "guide" not in self.nets:
            return Logits(*(torch.zeros(len(x), self.task.num_classes, device=self.device) for _ in range(3)))
        self.guide.eval()
        with torch.no_grad(), self.autocast():
            return priors(Logits(*map(full, self.guide(x))), self.prior_fusion)

    def _centre(self, means: Logits) -> Tensor:
        """The one of the three that `prior` names."""
        return {"global": means.globally, "local": means.locally}.get(self.prior, means.fused)

    def prepare(self, x: Tensor) -> Tensor:
        """[0, 1] to the networks' input."""
        return normalised(x, self.channels, self.mean, self.std)

    def logits(self, x: Tensor) -> Tensor:
        """Of the guide where it decides alone; a chain has no logits."""
        if self.diffusion:
            return super().logits(x)
        return self._centre(log_priors(Logits(*map(full, self.guide(self.prepare(x)))), self.prior_fusion))

    @property
    def guide(self) -> DualGuide:
        """The dual guide."""
        guide = self.nets["guide"]
        assert isinstance(guide, DualGuide)
        return guide

    @property
    def noise_net(self) -> Denoiser:
        """The noise predictor."""
        net = self.nets["noise"]
        assert isinstance(net, Denoiser)
        return net

    def _denoising(self) -> list[nn.Parameter]:
        return [p for name in ("encoder", "noise") for p in self.nets[name].parameters()]

    def state_dict(self) -> dict[str, Any]:
        return {
            "nets": self.nets.state_dict(),
            "slow": self.slow.state_dict() if self.slow is not None else None,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "train_steps": self.train_steps,
            "joint": self.joint,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["train_steps"] != self.train_steps:
            raise UserError(
                f"the stored weights were trained with classifier.train_steps={state['train_steps']}, this cell has "
                f"{self.train_steps}; use the stored value or train anew with --force"
            )
        if (state["slow"] is None) != (self.slow is None):
            stored, here = ("without", "> 0") if state["slow"] is None else ("with", "= 0")
            raise UserError(
                f"the stored weights were trained {stored} a slow denoiser, this cell has classifier.ema {here}; "
                "use the stored value or train anew with --force"
            )
        try:
            self.nets.load_state_dict(state["nets"])
            if self.slow is not None:
                self.slow.load_state_dict(state["slow"])
        except RuntimeError as error:
            raise UserError(f"the stored weights do not fit these networks: {str(error).splitlines()[0]}") from error
        self.joint = state["joint"]
        for name, optimizer in self.optimizers.items():
            if name in state["optimizers"]:
                optimizer.load_state_dict(state["optimizers"][name])


def rate(base: float, now: float, warmup: float, epochs: float) -> float:
    """Learning rate at time `now`, all in epochs: linear warm-up, then half a cosine to 0."""
    if now < warmup:
        return base * now / warmup
    return base * 0.5 * (1 + math.cos(math.pi * (now - warmup) / max(epochs - warmup, 1e-9)))


def on_simplex(y: Tensor) -> Tensor:
    """Probabilities (n, C) with the argmax of label vectors y (n, C): negative entries to 0, rows to sum 1."""
    raised = y.clamp(min=0) + 1e-6 * torch.softmax(y, 1)
    return raised / raised.sum(1, keepdim=True)
