"""Recipes: origins and precedence, renaming, nested components, the hash, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ltbench.errors import UnknownName, UserError
from ltbench.plugins import plugins
from ltbench.recipe import flatten, parse_set, resolve

FRANK = {"loss": "ce", "owns": {"optimizer": "paper, section 3"}, "protocol": {"optimizer.lr": 0.5}}
GREEDY = {"loss": "ce", "protocol": {"epochs": 1}}
LOCAL = {
    "loss": "ce",
    "sampler": {"name": "fixed-quota", "total": 7, "base": {"name": "power", "q": 0.5}},
    "generator": {"name": "guided-ddpm", "steps": 7},
    "datasets": {"digits-lt": {"generator.steps": 9, "loss": {"name": "focal", "gamma": 3.0}}},
    "fidelity": {"method": "assumed", "generator.steps": "paper"},
}
SLIP = {"loss": "ce", "dataset": {}}


@pytest.fixture(autouse=True)
def methods():
    registry = plugins().registry
    with registry.filling("recipes-under-test"):
        for name in ("FRANK", "GREEDY", "LOCAL", "SLIP"):
            registry.add("method", f"t-{name.lower()}", f"{__name__}:{name}", summary="a stand-in of the tests")
    yield
    registry.forget("recipes-under-test")


def draft(method="iois", dataset="digits-lt", protocol="quick", overrides=None, seed=0):
    return resolve(method, dataset, protocol, seed, overrides or {})[0]


def frozen(*args, n_train=341, content="c", **kwargs):
    return draft(*args, **kwargs).freeze(n_train=n_train, content=content)


def test_parse_set():
    texts = ["a=1", "b=0.5", "c=true", "d=None", "e=[1, 2]", "f=guided-ddpm", "g.h=1e-3", "i=a=b", "j="]
    expected = [1, 0.5, True, None, [1, 2], "guided-ddpm", 1e-3, "a=b", ""]
    assert list(parse_set(texts).values()) == expected
    for bad in ("epochs", "=3"):
        with pytest.raises(UserError, match=r"--set needs KEY=VALUE, got .* for example"):
            parse_set([bad])


def test_precedence_and_origins():
    plain = draft("t-local", "aptos")
    assert plain.recipe["generator"]["steps"] == 7
    assert plain.origins["generator.steps"] == "method t-local"
    assert plain.recipe["generator"]["train_steps"] == 1500
    assert plain.origins["generator.train_steps"] == "tier tiny"
    assert plain.origins["generator.scale"] == "default"
    assert plain.recipe["loss"] == {"name": "ce", "label_smoothing": 0.0}
    digits = draft("t-local")
    assert digits.recipe["generator"]["steps"] == 9
    assert digits.recipe["loss"]["gamma"] == 3.0
    given = draft("t-local", overrides={"generator.steps": 11})
    assert given.recipe["generator"]["steps"] == 11
    assert given.origins["generator.steps"] == "--set"
    assert digits.origins["protocol.batch_size"] == "protocol quick"
    assert digits.origins["protocol.augment.flip"] == "dataset digits-lt"
    assert digits.fidelity == LOCAL["fidelity"]
    assert digits.freeze(n_train=1, content="").as_dict()["assumed"] is True


def test_the_tier_comes_from_the_protocol():
    assert draft(protocol="quick").recipe["generator"]["widths"] == [16, 32, 32]
    base = draft(protocol="standard-scratch")
    assert base.recipe["generator"]["train_steps"] == 6000
    assert base.origins["generator.train_steps"] == "tier base"


def test_every_value_has_an_origin():
    made = draft("iois", overrides={"sampler.base": "sqrt", "epochs": 3})
    for key in flatten(made.recipe):
        if key != "seed" and made.recipe.get(key.partition(".")[0]):
            assert key in made.origins or key.rpartition(".")[0] in made.origins, key


def test_rules_by_size_and_by_number_of_images():
    small, large = draft("ce"), draft("ce", "aptos")
    assert (small.recipe["protocol"]["image_size"], small.recipe["protocol"]["backbone"]) == (8, "small_cnn")
    assert (large.recipe["protocol"]["image_size"], large.recipe["protocol"]["backbone"]) == (64, "resnet10t")
    assert small.recipe["protocol"]["split"] == "column:split"
    assert [frozen("ce", n_train=n).recipe["protocol"]["epochs"] for n in (100, 1000, 3000)] == [60, 32, 12]


@pytest.mark.parametrize(
    ("overrides", "method", "protocol"),
    [
        ({}, "iois", "quick"),
        ({"epochs": 5}, "iois", "quick+epochs=5"),
        ({"protocol.epochs": 5}, "iois", "quick+epochs=5"),
        ({"protocol.optimizer.lr": 0.1}, "iois", "quick+optimizer.lr=0.1"),
        ({"sampler.total": 200}, "iois+sampler.total=200", "quick"),
        ({"loss": "focal", "loss.gamma": 1}, "iois+loss=focal+loss.gamma=1", "quick"),
        ({"protocol.split_seed": 3}, "iois", "quick"),
        ({"protocol.weights": "none"}, "iois", "quick"),
        ({"dataset.imbalance": 50}, "iois", "quick"),
        ({"seed": 4}, "iois", "quick"),
    ],
)
def test_renaming(overrides, method, protocol):
    made = draft(overrides=overrides)
    assert (made.method, made.protocol) == (method, protocol)
    assert made.standard == (method == "iois" and protocol == "quick")


def test_the_axes_are_still_values():
    made = draft(overrides={"dataset.imbalance": 50, "protocol.split_seed": 3, "seed": 4})
    assert made.recipe["dataset"]["imbalance"] == 50
    assert made.recipe["protocol"]["split_seed"] == 3
    assert made.seed == 4


def test_nested_base_components():
    made = draft(overrides={"sampler.base": "class-balanced"})
    assert made.origins["sampler.base.name"] == "--set"
    assert made.recipe["sampler"]["base"]["name"] == "class-balanced"
    assert any(v == 1 and k.endswith(":class-balanced") for k, v in made.versions.items())
    with pytest.raises(UnknownName, match=r"unknown sampler 'sqrd'\. Did you mean sqrt"):
        draft(overrides={"sampler.base": "sqrd"})


def test_the_hash():
    one = frozen()
    assert one.hash == frozen().hash
    assert len(one.hash) == 64
    changes = [
        frozen(overrides={"sampler.temperature": 2.0}),
        frozen(overrides={"protocol.optimizer.lr": 0.01}),
        frozen(seed=1),
        frozen(content="other"),
        frozen("ce"),
        frozen(n_train=1000),
        frozen(overrides={"dataset.imbalance": 50}),
    ]
    assert len({one.hash, *(cell.hash for cell in changes)}) == len(changes) + 1
    assert one.folder(Path("a")).name == one.folder(Path("b")).name == f"seed0-{one.hash[:8]}"
    assert frozen(overrides={"sampler.temperature": 1.0}).hash == one.hash  # the same values under another name


def test_a_new_version_is_a_new_hash(monkeypatch):
    from ltbench_losses.ce import CrossEntropy

    before = frozen("ce").hash
    monkeypatch.setattr(CrossEntropy, "version", 2)
    assert frozen("ce").hash != before
    assert draft("ce").versions["loss:ce"] == 2


def test_a_cell_is_frozen():
    one = frozen()
    one.recipe["protocol"]["epochs"] = 1
    assert one.recipe["protocol"]["epochs"] != 1
    with pytest.raises(AttributeError):
        one.seed = 3
    assert hash(one) == hash(frozen())


def test_protocol_fields_of_a_method_need_a_declaration():
    made = draft("t-frank")
    assert made.recipe["protocol"]["optimizer"]["lr"] == 0.5
    assert made.origins["protocol.optimizer.lr"] == "method t-frank"
    assert made.owns == {"optimizer": "paper, section 3"}
    assert made.protocol == "quick"
    assert draft("t-frank", overrides={"protocol.optimizer.lr": 0.1}).recipe["protocol"]["optimizer"]["lr"] == 0.1
    with pytest.raises(UserError, match="sets protocol field 'epochs' without declaring it in `owns`"):
        draft("t-greedy")
    with pytest.raises(UnknownName, match=r"unknown keys \['dataset'\]"):
        draft("t-slip")


def test_protocol_values_reach_options():
    assert draft().recipe["sampler"]["ratio"] == 0.2
    assert draft(dataset="aptos").recipe["sampler"]["ratio"] == 0.1
    assert draft(dataset="aptos", protocol="iois2024").recipe["sampler"]["total"] == 600


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (("ioys",), r"unknown method 'ioys'\. Did you mean iois"),
        (("ce", "aptoss"), r"unknown dataset 'aptoss'\. Did you mean aptos"),
        (("ce", "aptos", "quik"), r"unknown protocol 'quik'\. Did you mean quick"),
        (("focal", "aptos", "quick", {"loss.gama": 1}), r"no option 'gama'\. Did you mean gamma"),
        (("ce", "aptos", "quick", {"los.gamma": 1}), r"unknown key 'los\.gamma' in --set\..*Did you mean loss"),
        (("ce", "aptos", "quick", {"protocol.epoch": 1}), r"no field 'epoch'\. Did you mean epochs"),
        (("ce", "aptos", "quick", {"dataset.rat": 1}), r"has no option 'rat'"),
        (("ce", "aptos", "quick", {"classifier.depth": 1}), r"classifier 'standard' has no option 'depth'"),
    ],
)
def test_unknown_names(call, text):
    with pytest.raises(UnknownName, match=text):
        draft(*call)


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"generator.steps": 3}, "method 'ce' has no generator; set it first: --set generator=NAME"),
        ({"dataset": "aptos"}, "choose a dataset with --dataset aptos"),
        ({"dataset.imbalance": 0.5}, "must be a ratio of at least 1"),
        ({"weights": "nowhere.safetensors"}, "weights file 'nowhere.safetensors' does not exist"),
        ({"image_size": 4}, "protocol.image_size must be a whole number of at least 8, got 4"),
        ({"seed": -1}, "the seed must be a whole number"),
    ],
)
def test_refused(overrides, text):
    with pytest.raises(UserError, match=text):
        draft("ce", overrides=overrides)


def test_a_weights_file_is_named_by_its_hash(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"1")
    one = draft("ce", "aptos", "standard", {"weights": str(path)})
    assert one.recipe["protocol"]["weights"].startswith("w.safetensors@")
    assert one.weights_path == str(path)
    path.write_bytes(b"2")
    assert (
        draft("ce", "aptos", "standard", {"weights": str(path)}).recipe["protocol"]["weights"]
        != one.recipe["protocol"]["weights"]
    )
    assert one.protocol == "standard"


def test_recipes_from_files(tmp_path):
    (tmp_path / "base.py").write_text("classifier = 'standard'\nloss = dict(name='focal', gamma=1.0)\n")
    (tmp_path / "mine.py").write_text("_base_ = ['base.py']\nloss = dict(gamma=4.0)\n")
    made = draft(str(tmp_path / "mine.py"))
    assert made.method == "file:mine"
    assert made.recipe["loss"]["gamma"] == 4.0
    with pytest.raises(UserError, match=r"method file 'none\.py' does not exist"):
        draft("none.py")


def test_a_slot_that_the_classifier_does_not_use():
    registry = plugins().registry
    with registry.filling("recipes-under-test"):
        registry.add("classifier", "t-slotless", f"{__name__}:Slotless", summary="uses no loss")
    with pytest.raises(UserError, match="'t-slotless' does not use the slot 'loss'; it uses: classifier, generator, s"):
        draft("ce", overrides={"classifier": "t-slotless"})
    made = draft("ce", overrides={"classifier": "t-slotless", "loss": None})
    assert made.recipe["loss"] is None
    assert made.owns == {"optimizer": "its own"}


class Slotless:
    """A classifier in name alone."""

    slots = frozenset()
    owns = {"optimizer": "its own"}  # noqa: RUF012


@pytest.mark.parametrize(("asked", "ratio"), [(None, 20), (50, 20), (20, 20), (5, 5), (1, 1)])
def test_a_data_set_that_cuts_its_own_tail_follows_a_smaller_imbalance(asked, ratio):
    overrides = {} if asked is None else {"dataset.imbalance": asked}
    draft, source = resolve("ce", "digits-lt", "quick", 0, overrides)
    assert source.ratio == draft.recipe["dataset"]["ratio"] == ratio
    assert draft.dataset == "digits-lt"
    counts = np.bincount(source.load(None, 8).labels, minlength=10)
    assert (counts[0] - 68) / (counts[9] - 68) == pytest.approx(ratio, rel=0.05)


def test_options_of_a_base_that_nobody_named():
    draft, _ = resolve("ce", "digits-lt", "quick", overrides={"loss": "drw", "loss.base.label_smoothing": 0.1})
    assert draft.recipe["loss"]["base"] == {"name": "ce", "label_smoothing": 0.1}


def test_an_override_that_changes_nothing_renames_nothing():
    plain, _ = resolve("focal", "digits-lt", "quick")
    same, _ = resolve("focal", "digits-lt", "quick", 0, {"protocol.epochs": plain.recipe["protocol"]["epochs"]})
    other, _ = resolve("focal", "digits-lt", "quick", 0, {"protocol.epochs": 3, "loss.gamma": 2.0})
    assert plain.recipe["loss"]["gamma"] == 2.0 and same.standard
    assert (same.method, same.protocol) == (plain.method, plain.protocol) == ("focal", "quick")
    assert (other.method, other.protocol, other.standard) == ("focal", "quick+epochs=3", False)


def test_options_of_a_base_that_is_not_chosen():
    with pytest.raises(UserError, match=r"generator.base.steps: selective has no base; .* --set generator.base=NAME"):
        resolve("ce", "digits-lt", "quick", 0, {"generator": "selective", "generator.base.steps": 2})
