"""The diffusion over label vectors: forward law, reverse steps and the tables of the samplers, float64 numpy.

y_t = s_t y_0 + sigma_t eps + (1 - s_t) m with s_t^2 = alpha_bar_t and sigma_t^2 = 1 - alpha_bar_t. A reverse step is

    y_0^ = (y_t - (1 - s_t) m - sigma_t eps) / s_t,    y_next = g_0 y_0^ + g_1 y_t + g_2 m + sd z,

so a sampler is the kept indices and their (g_0, g_1, g_2, sd). Han et al. 2022 (CARD), equations 3 to 7;
Yang et al. 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ltbench.errors import UserError
from ltbench.options import choice, whole

SAMPLERS = ("respaced", "ddim", "truncated")
Noise = Callable[[int, Tensor], Tensor]


def alpha_bars(steps: int, low: float = 1e-4, high: float = 0.02) -> np.ndarray:
    """Cumulative products of 1 - beta, float64 (T,), beta linear from low to high."""
    return np.cumprod(1 - np.linspace(low, high, steps))


def forward(y0: Tensor, prior: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """y_t of labels y0 (B, C), prior (B, C), noise (B, C) and alpha_bar (B, 1). Yang et al. 2023, equation 2."""
    scale = alpha_bar.sqrt()
    return scale * y0 + (1 - alpha_bar).sqrt() * noise + (1 - scale) * prior


def antithetic(draws: Tensor, steps: int, count: int) -> Tensor:
    """Times int64 (n,): the draws (n // 2 + 1,), then T - 1 minus each, cut to n."""
    return torch.cat([draws, steps - 1 - draws])[:count]


def posterior(now: float, then: float) -> tuple[float, float, float, float]:
    """(g_0, g_1, g_2, sd) of the ancestral step from alpha_bar `now` to the larger `then`; the g sum to 1."""
    alpha, s = now / then, np.sqrt(now)
    beta = 1 - alpha
    g0 = beta * np.sqrt(then) / (1 - now)
    g1 = (1 - then) * np.sqrt(alpha) / (1 - now)
    g2 = 1 + (s - 1) * (np.sqrt(alpha) + np.sqrt(then)) / (1 - now)
    return float(g0), float(g1), float(g2), float(np.sqrt(beta * (1 - then) / (1 - now)))


def deterministic(now: float, then: float) -> tuple[float, float, float, float]:
    """(g_0, g_1, g_2, 0) of the DDIM step with eta = 0. Song et al. 2021, equation 12, on y - m."""
    ratio = np.sqrt((1 - then) / (1 - now))
    g0 = np.sqrt(then) - ratio * np.sqrt(now)
    return float(g0), float(ratio), float(1 - ratio - g0), 0.0


@dataclass(frozen=True)
class Plan:
    """Kept indices, int64 (N,), falling; scale s and sigma (N,); coefficients (N, 4), the last row gives y_0^."""

    indices: np.ndarray
    scale: np.ndarray
    sigma: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def of(cls, sampler: str, steps: int, table: np.ndarray) -> Plan:
        """N steps on a table of alpha_bar (T,).

        "respaced" keeps N of the T indices, evenly from T - 1 down; "ddim" walks them without noise; "truncated" runs
        the indices N - 1 .. 0 from pure noise, as the released code of DiffMIC does although it trained on all T.
        """
        total = len(table)
        choice("classifier.sampler", sampler, SAMPLERS)
        whole("classifier.steps", steps, 1, total)
        if sampler == "truncated":
            indices = np.arange(steps)[::-1]
        else:
            indices = np.array([round(total - total * i / steps) - 1 for i in range(steps)])
        kept = table[indices]
        step = deterministic if sampler == "ddim" else posterior
        rows = [step(now, then) for now, then in pairwise(kept)]
        return cls(indices, np.sqrt(kept), np.sqrt(1 - kept), np.array([*rows, (1.0, 0.0, 0.0, 0.0)]))

    def run(self, predict: Noise, prior: Tensor, noise: Tensor) -> Tensor:
        """All states (N + 1, R, C), the start first and y_0 last.

        predict(i, y): noise (R, C) in y (R, C) at step i. prior m (R, C). noise (N, R, C): noise[0] starts the chain.
        """
        table = torch.as_tensor(np.column_stack([self.scale, self.sigma, self.coefficients])).to(prior)
        states = [prior + noise[0]]
        for i, (s, sigma, g0, g1, g2, sd) in enumerate(table.unbind(0) for table in table):
            y = states[-1]
            clean = (y - (1 - s) * prior - sigma * predict(i, y)) / s
            last = i + 1 == len(noise)
            states.append(clean if last else g0 * clean + g1 * y + g2 * prior + sd * noise[i + 1])
        return torch.stack(states)


def check_train_steps(steps: int) -> int:
    """T of at least 2; with fewer there is no chain to run."""
    if not isinstance(steps, int) or isinstance(steps, bool) or steps < 2:
        raise UserError(
            f"classifier.train_steps must be a whole number of at least 2, got {steps!r}; for example "
            "--set classifier.train_steps=1000, as in the paper"
        )
    return steps
