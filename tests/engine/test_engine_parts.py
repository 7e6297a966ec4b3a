"""Candidates, the guide, the sealed test part, what predict, samplers and generators may return, and K = 0."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import plugins_under_test as under_test
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltbench.engine import checkpoint
from ltbench.engine.candidates import train_candidates
from ltbench.engine.device import DevicePolicy
from ltbench.engine.guide import ClassifierGuide, frozen
from ltbench.engine.loader import PlanBatches, occurrences
from ltbench.errors import CheckpointError, ContractError, Diverged, NonFinite, TestIsSealed, UserError
from ltbench.interfaces import EpochPlan
from ltbench.testing import tiny_context


def test_reference_features_are_in_full_precision_whatever_the_protocol_says(tmp_path, monkeypatch):
    """bf16, here on the CPU, and TF32 are for training and predictions; distances are measured without them."""
    monkeypatch.setattr(
        DevicePolicy, "autocast", lambda self: torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16")
    )
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    context = tiny_context(tmp_path)
    context.policy = DevicePolicy(context.device, "bf16")
    reference, images, seen = context.reference("features"), context.val.images, []
    classifier, x = reference.classifier, torch.tensor(images).permute(0, 3, 1, 2) / 255
    classifier.net.eval()
    with torch.no_grad():
        features, probs = classifier.net[0](classifier.prepare(x)), classifier.logits(x).softmax(1)
    classifier.net[0].register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    assert np.allclose(reference.features(images), features, rtol=0, atol=1e-6)
    assert not np.allclose(reference.predict(images), probs, rtol=0, atol=1e-6)
    assert seen == [False, True] and "float32 without TF32" in reference.preprocess


def test_no_synthetic_images_equals_plain_training_bit_for_bit(cell):
    plain = cell("ce", {"protocol.epochs": 3})
    zero = cell("iois", {"protocol.epochs": 3, "sampler.total": 0})
    assert np.array_equal(plain.predictions.probs, zero.predictions.probs)
    assert [x["loss"] for x in plain.history] == [x["loss"] for x in zero.history]
    assert "generation" not in zero.data["metrics"]


def test_matched_controls_have_the_same_counts(cell):
    copies = cell("oversample-matched", {"sampler.total": 20, "sampler.temperature": "inf"})
    ours = cell("iois-ois", under_test.SHORT_DIFFUSION)
    assert [x.get("synthetic_counts") for x in copies.history] == [x.get("synthetic_counts") for x in ours.history]


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        ("shape", ContractError, r"predict must return float32 \(180, 10\), got float32 \(179, 10\)"),
        ("dtype", ContractError, r"predict must return float32 .* got float64"),
        ("sum", ContractError, "rows must sum to 1, got sums from 2 to 2"),
        ("negative", ContractError, "at least 0"),
        ("nan", NonFinite, "non-finite probabilities on the val part"),
        ("test", TestIsSealed, "sealed; select and tune on context.val"),
    ],
)
def test_predictions_are_checked(cell, fault, error, text):
    with pytest.raises(error, match=text):
        cell("t-sick", {"classifier.fault": fault})


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("empty", "no plan"),
        ("one", "at least 2"),
        ("outside", "0.*340|341"),
        ("sum", "sum to 341"),
        ("float", "int64"),
        ("counts", "synthetic_counts must be whole numbers"),
        ("negative", "synthetic_counts must be whole numbers"),
        ("fraction", "synthetic_counts must be whole numbers"),
    ],
)
def test_plans_and_counts_are_checked(cell, fault, text):
    with pytest.raises(ContractError, match=text):
        cell("t-sick-sampler", {"sampler.fault": fault})


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("dtype", r"must return uint8 \(n, H, W, 1\), got float32"),
        ("channels", r"must return uint8 \(n, H, W, 1\), got uint8 \(20, 8, 8, 3\)"),
        ("counts", "was asked for .* and returned"),
        ("labels", "int64"),
        ("short", r"\(20,\) for 19 images"),
    ],
)
def test_synthetic_images_are_checked(cell, fault, text):
    with pytest.raises(ContractError, match=text):
        cell("t-sick-generator", {"generator.fault": fault})


def test_images_wanted_without_a_generator(cell):
    with pytest.raises(UserError, match="asks for 20 synthetic images but there is no generator"):
        cell("t-sick-sampler", {"sampler.fault": "wanted"})


@pytest.mark.parametrize("where", ["train", "predict"])
def test_a_diverged_candidate_scores_nan_and_the_others_are_untouched(cell, where):
    healthy = cell("t-rl-cas", {"protocol.epochs": 1})
    sick = cell("t-fragile", {"protocol.epochs": 1, "classifier.sick": [0], "classifier.where": where})
    one, other = healthy.history[0]["candidate_scores"], sick.history[0]["candidate_scores"]
    assert np.isnan(other[0])
    assert other[1:] == one[1:]


def test_all_candidates_diverged(cell):
    with pytest.raises(Diverged, match="all 3 candidates of an epoch diverged"):
        cell("t-fragile", {"classifier.sick": [0, 1, 2]})


def test_a_diverged_training_names_the_way_out(cell):
    with pytest.raises(NonFinite, match=r"--set protocol\.optimizer\.lr="):
        cell("ce", {"protocol.optimizer.lr": 1e9})


class Counter:
    """A stand-in for a classifier: one tensor, to which each plan adds itself."""

    def __init__(self):
        self.value = torch.zeros(1)

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def test_candidates_start_alike_and_the_best_is_kept():
    owner, seen = Counter(), []

    def train(plan):
        seen.append(float(owner.value))
        owner.value += plan  # in place: a shared tensor would leak into the other candidates
        return {"plan": plan, "images": 10 * plan}

    outcome = train_candidates(owner, [1, 3, 2], train, lambda: (None, float(owner.value)))
    assert seen == [0, 0, 0]
    assert (outcome.best, outcome.scores, outcome.log) == (1, [1, 3, 2], {"plan": 3, "images": 30})
    assert outcome.images == 60
    assert float(owner.value) == 3


class Store:
    """Forty real rows and ten synthetic ones, each image filled with its row number."""

    def __init__(self):
        self.table = type("Table", (), {"aux": {"row": np.arange(40)}, "__len__": lambda self: 40})()
        self.labels, self.synthetic = np.arange(50) % 5, np.arange(50) >= 40
        self.device = torch.device("cpu")

    def images(self, rows):
        return torch.from_numpy(rows).view(-1, 1, 1, 1)


class Echo:
    """An augmenter that returns the row and its random numbers."""

    num_params = 3

    def __call__(self, raw, params, view):
        return torch.cat([raw.flatten(1).float(), params], 1)


def drawn(rows, sizes, views=("protocol",)):
    from ltbench.engine.streams import numpy_stream

    plan = EpochPlan(rows=np.array(rows), sizes=np.array(sizes))
    batches = PlanBatches(Store(), plan, Echo(), views, lambda *tags: numpy_stream(0, *tags), 0)
    assert len(batches) == len(sizes)
    return list(batches)


def test_augmentation_belongs_to_the_row_whatever_else_is_in_the_plan():
    alone = torch.cat([b.images for b in drawn([3, 7, 3, 9], [2, 2])])
    mixed = torch.cat([b.images for b in drawn([41, 7, 45, 3, 48, 9, 3, 41], [5, 3])])
    real = mixed[[3, 1, 6, 5]]
    assert torch.equal(alone, real)
    assert not torch.equal(alone[0, 1:], alone[2, 1:])  # the second visit of a row differs
    fewer = torch.cat([b.images for b in drawn([45, 3], [2])])
    assert torch.equal(fewer[0], mixed[2])


def test_batches_say_what_they_hold():
    (batch,) = drawn([39, 40, 0], [3], views=("protocol", "strong"))
    assert batch.rows.tolist() == [39, -1, 0]
    assert batch.synthetic.tolist() == [False, True, False]
    assert batch.aux["row"].tolist() == [39, 0, 0]
    assert batch.labels.tolist() == [4, 0, 0]
    assert len(batch.views) == 2
    assert batch.images is batch.views[0]
    assert not torch.equal(batch.views[0], batch.views[1])


def test_occurrences():
    assert occurrences(np.array([5, 2, 5, 5, 2, 9])).tolist() == [0, 0, 1, 2, 1, 0]


class Judge:
    """A classifier with BatchNorm, dropout and modules at several places."""

    def __init__(self):
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5))
        self.parts = {"head": nn.Linear(4 * 36, 3)}
        self.net[0].weight.requires_grad_(False)

    def logits(self, x):
        return self.parts["head"](self.net(x))


def flags(judge):
    modules = [*judge.net.modules(), *judge.parts["head"].modules()]
    parameters = [*judge.net.parameters(), *judge.parts["head"].parameters()]
    return [m.training for m in modules], [p.requires_grad for p in parameters]


@pytest.mark.parametrize("fails", [False, True])
def test_the_guide_leaves_the_classifier_as_it_was(fails):
    judge = Judge()
    judge.net[1].eval()
    before, buffers = flags(judge), {k: v.clone() for k, v in judge.net.state_dict().items()}
    guide = ClassifierGuide(judge.logits, (8, 8, 1), (-1.0, 1.0))
    x = torch.rand(4, 1, 8, 8, requires_grad=True)
    try:
        with torch.no_grad(), frozen(judge):
            assert not any(flags(judge)[0])
            assert not any(flags(judge)[1])
            guide.log_prob(x, torch.tensor([0, 1, 2, 0])).sum().backward()
            if fails:
                raise RuntimeError("inside")
    except RuntimeError:
        assert fails
    assert flags(judge) == before
    assert x.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.net.parameters())
    assert all(torch.equal(buffers[k], v) for k, v in judge.net.state_dict().items())


def test_the_guide_agrees_with_the_classifier_and_with_finite_differences():
    judge = Judge()
    judge.net.double()
    judge.parts["head"].double()
    guide = ClassifierGuide(judge.logits, (8, 8, 1), (-1.0, 1.0))
    labels = torch.tensor([0, 2])
    unit = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    with frozen(judge):
        expected = F.log_softmax(judge.logits(unit), 1).gather(1, labels.view(-1, 1))[:, 0]
        x = (unit * 2 - 1).requires_grad_(True)
        got = guide.log_prob(x, labels)
        assert torch.allclose(got.double(), expected, atol=1e-4)
        (gradient,) = torch.autograd.grad(got.sum(), x)
        for place in [(0, 0, 2, 3), (1, 0, 5, 5), (1, 0, 4, 1)]:
            step = torch.zeros_like(x)
            step[place] = 1e-2
            up, down = (guide.log_prob(x.detach() + s, labels).sum() for s in (step, -step))
            assert float(gradient[place]) == pytest.approx(float(up - down) / 2e-2, abs=2e-3)
    with pytest.raises(ContractError, match="3-channel images, the classifier expects 1"):
        guide.log_prob(torch.zeros(2, 3, 8, 8), labels)


def test_the_guide_of_a_run_is_the_classifier_in_training(cell, monkeypatch):
    import ltbench_iois.copies as copies

    seen = []
    sample = copies.RealCopies.sample

    def spy(self, counts, *, guide, rng):
        images, labels = sample(self, counts, guide=guide, rng=rng)
        x = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        log_prob = guide.log_prob(x, torch.tensor(labels))
        owner = guide._logits.__self__
        assert not owner.net.training
        probs = owner.predict(images, None)
        seen.append(np.abs(np.log(probs[np.arange(len(labels)), labels]) - log_prob.detach().numpy()).max())
        return images, labels

    monkeypatch.setattr(copies.RealCopies, "sample", spy)
    cell("oversample-matched", {"sampler.total": 20})
    assert seen
    assert max(seen) < 1e-4


def test_checkpoints_keep_every_kind_of_value(tmp_path):
    state = {
        "t": torch.arange(3.0),
        "a": np.arange(4),
        "b": np.array([True]),
        "s": np.array(["x", "yy"]),
        "n": np.float64(2.5),
        "list": [1, (2.0, None)],
        3: "key",
        "empty": np.zeros((0, 2), np.uint8),
    }
    checkpoint.save(tmp_path / "c.pt", "owner", state)
    back = checkpoint.load(tmp_path / "c.pt", "owner")
    assert torch.equal(back["t"], state["t"])
    assert all(np.array_equal(back[k], state[k]) and back[k].dtype == state[k].dtype for k in ("a", "b", "empty"))
    assert back["s"].tolist() == ["x", "yy"]
    assert (back["n"], back["list"], back[3]) == (2.5, [1, (2.0, None)], "key")
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


def test_foreign_and_corrupt_checkpoints(tmp_path):
    path = tmp_path / "c.pt"
    checkpoint.save(path, "a" * 64, {})
    with pytest.raises(CheckpointError, match="belongs to aaaaaaaa, expected bbbbbbbb"):
        checkpoint.load(path, "b" * 64)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(path, "a")
    torch.save({"state": {}}, path)
    with pytest.raises(CheckpointError, match="has format None"):
        checkpoint.load(path, "a")
    for content in (b"", b"nonsense" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"c\.pt cannot be read .*--force"):
            checkpoint.load(path, "a")


def test_a_pickle_in_a_checkpoint_is_never_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    (tmp_path / "c.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "c.pt", "a")
    torch.save({"state": Evil()}, tmp_path / "c.pt")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "c.pt", "a")
    assert not (tmp_path / "evil").exists()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system cannot forget a peak")
def test_peak_memory_is_that_of_one_cell() -> None:
    policy = DevicePolicy.choose("cpu", "float32")
    with mmap.mmap(-1, 64 * 2**20) as large:  # from the system itself: the heap may have kept that much
        large.write(b"x" * len(large))
        with_it = policy.peak_memory()
    policy.forget_peak()
    assert policy.peak_memory() < with_it - 32 * 2**20
