"""From a plan to augmented batches on the device; augmentation is keyed per row, not per position in the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from ltbench.data.augment import Augmenter
from ltbench.engine.pool import Pool
from ltbench.interfaces import Batch, Batches, EpochPlan, ImageTable
from ltbench.models.images import resize_images

DEVICE_BUDGET = 4 << 30  # bytes of uint8 images that may live on the device


def occurrences(rows: np.ndarray) -> np.ndarray:
    """For each entry, how often its value occurred before it."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    start = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    rank = np.arange(len(rows)) - np.repeat(start, np.diff(np.r_[start, len(rows)]))
    result = np.empty(len(rows), np.int64)
    result[order] = rank
    return result


class TrainStore:
    """The real training images (uint8, on the device where they fit) followed by the pool."""

    def __init__(self, table: ImageTable, device: torch.device) -> None:
        self.table = table
        self.device = device
        self.stored_size = int(table.images.shape[1])
        where = device if table.images.nbytes <= DEVICE_BUDGET else torch.device("cpu")
        self._real = torch.tensor(table.images, device=where)
        self._pool = self._real[:0]
        self.labels = table.labels
        self.synthetic = np.zeros(len(table), bool)

    def set_pool(self, pool: Pool) -> None:
        """Replace the synthetic part; its images are resized to the stored size."""
        images = resize_images(pool.images, self.stored_size)
        self._pool = torch.from_numpy(np.ascontiguousarray(images)).to(self._real.device)
        self.labels = np.concatenate([self.table.labels, pool.labels])
        self.synthetic = np.arange(len(self.labels)) >= len(self.table)

    def images(self, rows: np.ndarray) -> torch.Tensor:
        """uint8 (B, h, w, c) of these rows on the device."""
        index = torch.from_numpy(rows).to(self._real.device)
        n = len(self.table)
        if len(self._pool) == 0:
            return self._real[index].to(self.device)
        out = self._real[index.clamp(max=n - 1)]
        fake = index >= n
        out[fake] = self._pool[index[fake] - n]
        return out.to(self.device)


class PlanBatches(Batches):
    """The batches of one plan; `stream(*tags)` gives the epoch's random streams."""

    def __init__(
        self,
        store: TrainStore,
        plan: EpochPlan,
        augmenter: Augmenter,
        views: Sequence[str],
        stream: Callable[..., np.random.Generator],
        epoch: int,
    ) -> None:
        self.store, self.plan, self.augmenter, self.views, self.epoch = store, plan, augmenter, views, epoch
        self._params = [self._draw(f"{view}{i}", stream) for i, view in enumerate(views)]

    def _draw(self, view: str, stream: Callable[..., np.random.Generator]) -> np.ndarray:
        """Uniform numbers (L, P): row r's k-th visit gets the same ones in every plan of the epoch."""
        rows, real = self.plan.rows, len(self.store.table)
        visit = occurrences(rows)
        params = np.empty((len(rows), self.augmenter.num_params), np.float32)
        for part, offset, size in (("real", 0, real), ("pool", real, len(self.store.labels) - real)):
            mine = (rows >= real) == (part == "pool")
            for k in range(int(visit[mine].max()) + 1 if mine.any() else 0):
                table = stream("augment", view, part, k).random((size, self.augmenter.num_params), np.float32)
                now = mine & (visit == k)
                params[now] = table[rows[now] - offset]
        return params

    def __len__(self) -> int:
        return len(self.plan.sizes)

    def __iter__(self) -> Iterator[Batch]:
        ends = np.cumsum(self.plan.sizes)
        device, n = self.store.device, len(self.store.table)
        for step, (start, end) in enumerate(zip(ends - self.plan.sizes, ends, strict=True)):
            rows = self.plan.rows[start:end]
            raw = self.store.images(rows)
            views = tuple(
                self.augmenter(raw, torch.from_numpy(params[start:end]).to(device), view)
                for view, params in zip(self.views, self._params, strict=True)
            )
            real_rows = np.where(rows < n, rows, -1)
            yield Batch(
                images=views[0],
                labels=torch.from_numpy(self.store.labels[rows]).to(device),
                synthetic=torch.from_numpy(self.store.synthetic[rows]).to(device),
                rows=torch.from_numpy(real_rows).to(device),
                views=views,
                epoch=self.epoch,
                step=step,
                aux={name: column[np.maximum(real_rows, 0)] for name, column in self.store.table.aux.items()},
            )
