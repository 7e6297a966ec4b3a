"""Regions of a saliency map by hand, crops as slices, gated attention in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from ltbench.models.regions import GatedAttention, crops, regions, rescaled

MAP = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 9]], dtype=torch.float64)[None, None]


def test_attention():
    scores = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    attention = GatedAttention(1, 1).double()
    with torch.no_grad():  # sigmoid(0) = 1/2, so the score is tanh(h)
        for layer, value in ((attention.gate, 0.0), (attention.value, 1.0), (attention.score, 2.0)):
            layer.weight.fill_(value)
    h = torch.atanh(scores)[None, :, None]
    z, weights = attention(h)
    assert np.allclose(weights.detach(), [[0.35361511, 0.21447841, 0.43190648]], atol=1e-8)
    assert torch.allclose(z, (weights[:, :, None] * h).sum(1))
    assert all(layer.bias is None for layer in (attention.gate, attention.value, attention.score))


def test_regions():
    means = F.avg_pool2d(rescaled(MAP, 1e-12), 2, stride=1)
    assert np.allclose(means, [[[[0.22222222, 0.33333333], [0.55555556, 0.69444444]]]], atol=1e-8)
    assert regions(MAP, (2, 2), 2, 1e-12).tolist() == [[[1, 1], [1, 0]]]
    assert regions(MAP, (2, 2), 6, 1e-12).shape == (1, 4, 2)  # no more windows than there are


def test_a_constant_map_stays_finite_and_does_not_vote():
    both = torch.cat([torch.full_like(MAP, 5.0), MAP], 1)
    assert not rescaled(both, 1e-8)[:, 0].any()
    assert torch.equal(regions(both, (1, 1), 3, 1e-8), regions(MAP, (1, 1), 3, 1e-8))


def test_crops_are_slices_of_every_channel():
    images, corners = torch.rand(2, 3, 9, 9), torch.tensor([[[0, 0], [3, 5]], [[5, 1], [2, 2]]])
    found = crops(images, corners, 4)
    assert found.shape == (2, 2, 3, 4, 4)
    for b in range(2):
        for k, (y, x) in enumerate(corners[b].tolist()):
            assert torch.equal(found[b, k], images[b, :, y : y + 4, x : x + 4])
