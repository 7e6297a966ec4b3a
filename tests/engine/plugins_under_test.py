"""Stand-ins for what the contract has to carry: RL-CAS, cRT, a stochastic two-optimiser classifier, GLMC's batches."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ltbench.errors import NonFinite
from ltbench.interfaces import Classifier, EpochPlan, Generator, Sampler, Stage, in_batches
from ltbench.models.standard import StandardClassifier

SHORT_DIFFUSION = {"generator.train_steps": 20, "generator.steps": 4, "sampler.total": 20}


class RLCAS(Sampler):
    """C agents choose the synthetic images per batch of each class; K candidates, REINFORCE with a baseline."""

    def __init__(self, *, k=3, pool=6, low=0, high=3, move=1, lr=1e-1, gamma=0.99):
        self.k, self.pool, self.low, self.high, self.move, self.lr, self.gamma = k, pool, low, high, move, lr, gamma

    def setup(self, *, class_counts, total_epochs):
        self.classes = len(class_counts)
        self.state, self.baseline = np.full(self.classes, min(2, self.high)), 0.0
        self.logits = torch.zeros(self.classes, 3, requires_grad=True)
        self.adam = torch.optim.Adam([self.logits], lr=self.lr)

    def synthetic_counts(self, feedback):
        return None if feedback["pool_counts"].any() else np.full(self.classes, self.pool)

    def plan(self, view, feedback, rng):
        real = rng.permutation(np.flatnonzero(~view.synthetic))
        batches = np.array_split(real, max(len(real) // view.batch_size, 1))
        pools = [np.flatnonzero(view.synthetic & (view.labels == c)) for c in range(self.classes)]
        probs = torch.softmax(self.logits.detach().double(), 1).numpy()
        self.actions = np.array([[rng.choice(3, p=p) for p in probs] for _ in range(self.k)])
        self.proposed = np.clip(self.state + self.move * (self.actions - 1), self.low, self.high)
        return [self._mix(batches, pools, state, rng) for state in self.proposed]

    def _mix(self, batches, pools, state, rng):
        draw = [[rng.choice(pool, n) for pool, n in zip(pools, state, strict=True)] for _ in batches]
        full = [np.concatenate([b, *d]).astype(np.int64) for b, d in zip(batches, draw, strict=True)]
        return EpochPlan(rows=np.concatenate(full), sizes=np.array([len(b) for b in full]))

    def observe(self, scores, best):
        rewards = (np.nan_to_num(np.asarray(scores, dtype=float)) + 0.04) ** 3
        self.baseline = (1 - self.gamma) * self.baseline + self.gamma * rewards.mean()
        log_p = torch.log_softmax(self.logits, 1)[torch.arange(self.classes), torch.tensor(self.actions)].sum(1)
        self.adam.zero_grad()
        (-(torch.tensor(rewards - self.baseline).float() * log_p).mean()).backward()
        self.adam.step()
        self.state = self.proposed[best]

    def state_dict(self):
        own = {"state": self.state, "baseline": self.baseline}
        return {**own, "logits": self.logits.detach().clone(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        self.state, self.baseline = state["state"], state["baseline"]
        self.logits.data.copy_(state["logits"])
        self.adam.load_state_dict(state["adam"])


class FreezableNet(nn.Sequential):
    """Backbone and head; a frozen backbone stays in eval mode."""

    frozen = False

    def train(self, mode=True):
        super().train(mode)
        if self.frozen:
            self[0].eval()
        return self


class CRT(StandardClassifier):
    """Two stages: everything on natural batches, then a fresh head on class-balanced ones."""

    def build(self, context):
        return FreezableNet(*super().build(context))

    def stages(self, epochs):
        return [Stage("representation", epochs), Stage("head", 2, sampler="class-balanced")]

    def start_stage(self, stage, context):
        if stage.name == "head":
            self.net.frozen = True
            self.net[0].requires_grad_(False)
            self.net[1].reset_parameters()
        super().start_stage(stage, context)


class TwoOptimisers(Classifier):
    """An encoder with SGD, then a head that sees noise with Adam; predictions average over noise."""

    slots = frozenset()
    views = ("protocol", "none")

    def __init__(self, *, width=32, draws=4):
        self.width, self.draws = width, draws

    def setup(self, context):
        size, _, channels = context.task.image_shape
        classes = context.task.num_classes
        body = nn.Linear(size * size * channels, self.width)
        self.nets = {
            "encoder": nn.Sequential(nn.Flatten(), body, nn.BatchNorm1d(self.width), nn.ReLU(), nn.Dropout(0.2)),
            "guess": nn.Linear(self.width, classes),
            "head": nn.Linear(self.width + classes + 4, classes),
        }
        slow = [*self.nets["encoder"].parameters(), *self.nets["guess"].parameters()]
        self.optimisers = {
            "slow": torch.optim.SGD(slow, lr=0.05, momentum=0.9),
            "fast": torch.optim.Adam(self.nets["head"].parameters(), lr=1e-2),
        }

    def stages(self, epochs):
        return [Stage("encoder", epochs, select=False), Stage("head", epochs, evaluate_every=2)]

    def start_stage(self, stage, context):
        self.second = stage.name == "head"

    def _forward(self, x, noise):
        code = self.nets["encoder"](x)
        guess = self.nets["guess"](code)
        return self.nets["head"](torch.cat([code, guess, noise], 1)) if self.second else guess

    def train_epoch(self, batches, context):
        total = 0.0
        for net in self.nets.values():
            net.train()
        for batch in batches:
            x = torch.cat(batch.views)
            loss = F.cross_entropy(self._forward(x, torch.randn(len(x), 4)), batch.labels.repeat(2))
            for optimiser in self.optimisers.values():
                optimiser.zero_grad()
            loss.backward()
            for name, optimiser in self.optimisers.items():
                if name == "slow" or self.second:
                    optimiser.step()
            total += float(loss.detach())
        return {"loss": total / len(batches)}

    @torch.no_grad()
    def predict(self, images, context):
        for net in self.nets.values():
            net.eval()
        x = torch.tensor(images).permute(0, 3, 1, 2) / 255
        noise = torch.randn(self.draws, len(x), 4, generator=context.torch_rng("noise"))
        return torch.stack([self._forward(x, n).softmax(1) for n in noise]).mean(0).numpy()

    def state_dict(self):
        return {k: v.state_dict() for k, v in {**self.nets, **self.optimisers}.items()}

    def load_state_dict(self, state):
        for name, part in {**self.nets, **self.optimisers}.items():
            part.load_state_dict(state[name])


class Paired(Sampler):
    """Batches [natural | drawn with inverse class frequency], halves of one size."""

    def plan(self, view, feedback, rng):
        natural = rng.permutation(len(view.labels))
        weights = 1.0 / view.class_counts[view.labels]
        weighted = rng.choice(len(natural), len(natural), p=weights / weights.sum())
        half = view.batch_size // 2
        cuts = range(0, len(natural) - half + 1, half)
        rows = [np.concatenate([natural[i : i + half], weighted[i : i + half]]) for i in cuts]
        return [EpochPlan(rows=np.concatenate(rows), sizes=np.full(len(rows), 2 * half))]


class GLMC(StandardClassifier):
    """Mixes the natural half with the weighted half and asks two views to agree."""

    views = ("protocol", "strong")

    def training_loss(self, batch):
        half = len(batch.labels) // 2
        mixed = [0.7 * v[:half] + 0.3 * v[half:] for v in batch.views]
        one, two = (self.net(self.prepare(x)) for x in mixed)
        natural, weighted = batch.labels[:half], batch.labels[half:]
        loss = 0.7 * self.loss.loss(one, natural) + 0.3 * self.loss.loss(one, weighted)
        agree = 1 - F.cosine_similarity(one, two.detach()).mean()
        return loss + 0.5 * agree, torch.cat([one, one])


RL_CAS = {"classifier": "standard", "loss": "ce", "sampler": "t-rl-cas", "generator": "real-copies"}
CRT_METHOD = {"classifier": "t-crt", "loss": "ce"}
TWO_METHOD = {"classifier": "t-two-optimisers"}
GLMC_METHOD = {"classifier": "t-glmc", "loss": "ce", "sampler": "t-paired"}


class Careless(StandardClassifier):
    """Draws from torch's global generator where it should ask the context."""

    def end_stage(self, stage, context):
        with torch.no_grad():
            self.net[1].bias += torch.randn_like(self.net[1].bias)


class CarelessSampler(Sampler):
    """The same for a sampler."""

    def plan(self, view, feedback, rng):
        return [in_batches(torch.randperm(len(view.labels)).numpy(), view.batch_size)]


class Sick(StandardClassifier):
    """Breaks the contract on demand; fault: shape, dtype, sum, nan, test, negative."""

    def __init__(self, *, fault="none"):
        super().__init__()
        self.fault = fault

    def predict(self, images, context):
        if self.fault == "test":
            return context.test
        probs = super().predict(images, context)
        change = {
            "shape": lambda p: p[:-1],
            "dtype": lambda p: p.astype(np.float64),
            "sum": lambda p: p * 2,
            "nan": lambda p: p * np.float32("nan"),
            "negative": lambda p: np.tile(np.float32([2, -1] + [0] * (p.shape[1] - 2)), (len(p), 1)),
        }
        return change.get(self.fault, lambda p: p)(probs)


class Fragile(StandardClassifier):
    """Diverges on candidates: of the plans of an epoch, those whose index is in `sick`, when trained or validated."""

    def __init__(self, *, sick=(1,), where="train"):
        super().__init__()
        self.sick, self.where, self.calls = sick, where, -1

    def train_epoch(self, batches, context):
        self.calls += 1
        if self.where == "train" and self.calls % 3 in self.sick:
            next(iter(batches))
            raise NonFinite("this candidate diverged")
        return super().train_epoch(batches, context)

    def predict(self, images, context):
        if self.where == "predict" and context.stage == "predict:val" and self.calls % 3 in self.sick:
            raise NonFinite("this candidate diverged")
        return super().predict(images, context)


class SickSampler(Sampler):
    """fault: empty, one, outside, sum, float (a bad plan); counts, negative, fraction (bad synthetic counts)."""

    def __init__(self, *, fault="none"):
        self.fault = fault

    def setup(self, *, class_counts, total_epochs):
        self.classes = len(class_counts)

    def synthetic_counts(self, feedback):
        bad = {
            "counts": np.ones(self.classes + 1, np.int64),
            "negative": np.full(self.classes, -1),
            "fraction": np.full(self.classes, 1.5),
            "wanted": np.full(self.classes, 2),
        }
        return bad.get(self.fault)

    def plan(self, view, feedback, rng):
        rows, sizes = rng.permutation(len(view.labels)), [100, len(view.labels) - 100]
        if self.fault == "empty":
            return []
        if self.fault == "one":
            sizes = [len(rows) - 1, 1]
        if self.fault == "outside":
            rows[0] = len(rows)
        if self.fault == "sum":
            sizes[0] += 1
        if self.fault == "float":
            rows = rows.astype(np.float64)
        return [EpochPlan(rows=rows, sizes=np.array(sizes))]


class SickGenerator(Generator):
    """fault: dtype, channels, counts, labels."""

    def __init__(self, *, fault="none"):
        self.fault = fault

    def fit(self, table, context):
        self.table = table

    def sample(self, counts, *, guide, rng):
        labels = np.repeat(np.arange(len(counts)), counts)
        images = np.zeros((len(labels), 8, 8, 1), np.uint8)
        if self.fault == "dtype":
            images = images.astype(np.float32)
        if self.fault == "channels":
            images = images.repeat(3, 3)
        if self.fault == "counts":
            images, labels = images[1:], labels[1:]
        if self.fault == "labels":
            labels = labels.astype(np.int32)
        if self.fault == "short":
            images = images[1:]
        return images, labels


CARELESS = {"classifier": "t-careless", "loss": "ce", "sampler": "t-careless"}
SICK = {"classifier": "t-sick", "loss": "ce"}
FRAGILE = {**RL_CAS, "classifier": "t-fragile"}
SICK_SAMPLER = {"loss": "ce", "sampler": "t-sick"}
SICK_GENERATOR = {"loss": "ce", "sampler": {"name": "t-sick", "fault": "wanted"}, "generator": "t-sick"}
GREEDY = {"loss": "ce", "owns": {}, "protocol": {"epochs": 1}}
FRANK = {"loss": "ce", "owns": {"optimizer": "paper, section 3"}, "protocol": {"optimizer.lr": 0.5}}


def register(registry):
    """Offer everything above as the plugin "under-test"."""
    here = "plugins_under_test"
    with registry.filling("under-test"):
        for kind, id, name in [
            ("sampler", "t-rl-cas", "RLCAS"),
            ("sampler", "t-paired", "Paired"),
            ("sampler", "t-sick", "SickSampler"),
            ("classifier", "t-crt", "CRT"),
            ("classifier", "t-two-optimisers", "TwoOptimisers"),
            ("classifier", "t-glmc", "GLMC"),
            ("classifier", "t-careless", "Careless"),
            ("sampler", "t-careless", "CarelessSampler"),
            ("method", "t-careless", "CARELESS"),
            ("classifier", "t-sick", "Sick"),
            ("classifier", "t-fragile", "Fragile"),
            ("generator", "t-sick", "SickGenerator"),
            ("method", "t-rl-cas", "RL_CAS"),
            ("method", "t-crt", "CRT_METHOD"),
            ("method", "t-two-optimisers", "TWO_METHOD"),
            ("method", "t-glmc", "GLMC_METHOD"),
            ("method", "t-sick", "SICK"),
            ("method", "t-fragile", "FRAGILE"),
            ("method", "t-sick-sampler", "SICK_SAMPLER"),
            ("method", "t-sick-generator", "SICK_GENERATOR"),
            ("method", "t-greedy", "GREEDY"),
            ("method", "t-frank", "FRANK"),
        ]:
            registry.add(kind, id, f"{here}:{name}", summary="a stand-in of the tests")
