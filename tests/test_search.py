"""Search spaces: values inside, ends reached, draws that depend on nothing else; what of a method is open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ltbench
from ltbench.errors import ContractError, LtbenchError, PluginError, UnknownName
from ltbench.plugins import plugins
from ltbench.recipe import resolve
from ltbench.registry import CODE_KINDS, Component
from ltbench.search import Space, draws, open_options
from ltbench.testing.searching import check_protocol_search, check_search

UNIT = st.floats(0, 1, exclude_max=True)


@given(UNIT, st.floats(1e-6, 1e3), st.floats(1.5, 1e4))
def test_a_log_space_is_uniform_in_the_logarithm(u, low, factor):
    space = Space.of(("log", low, low * factor), "x")
    value = space.at(u)
    assert space.holds(value)
    assert math.log(value / low) == pytest.approx(u * math.log(factor), abs=0.006)  # three digits


@given(UNIT, st.integers(-50, 50), st.integers(1, 40))
def test_whole_numbers_and_lines(u, low, width):
    whole = Space.of(("int", low, low + width), "x")
    assert whole.at(u) == low + math.floor(u * (width + 1)) and whole.holds(whole.at(u))
    line = Space.of(("linear", low, low + width), "x")
    assert line.holds(line.at(u)) and line.at(u) == pytest.approx(low + u * width, rel=0.005, abs=1e-9)


def test_choices_are_equally_likely_and_times_multiplies_the_default():
    space = Space.of(["choice", [0.9, "b", True]], "x")
    found = [space.at(u) for u in np.linspace(0, 1, 300, endpoint=False)]
    assert [found.count(v) for v in (0.9, "b", True)] == [100, 100, 100]
    assert space.holds(True) and not space.holds(1) and not space.holds("c")
    assert Space.of(("times", 0.1, 10), "x", 0.02) == Space("log", (0.002, 0.2))
    assert not Space.of(("int", 1, 4), "x").holds(2.0) and not Space.of(("log", 0.1, 10), "x").holds("inf")


@pytest.mark.parametrize(
    "raw",
    [
        "log",
        None,
        (),
        ("log", 0, 1),
        ("log", 2, 1),
        ("linear", 1, 1),
        ("linear", 0, math.inf),
        ("int", 0.5, 2),
        ("choice", [1]),
        ("choice", 1, 2),
        ("times", 0.1, 10),
        ("normal", 0, 1),
    ],
)
def test_what_is_no_space_is_refused_by_name(raw):
    with pytest.raises(PluginError, match=r"loss\.gamma"):
        Space.of(raw, "loss.gamma")


def test_trials_do_not_depend_on_their_number_nor_on_other_options():
    a, b, c = (Space.of(("linear", 0, 1), name) for name in "abc")
    few, many = draws({"a": a, "b": b}, 4, 7), draws({"a": a, "b": b, "c": c}, 9, 7)
    assert few[0] == {} and many[0] == {} and len(many) == 9
    assert [{k: t[k] for k in ("a", "b")} for t in many[1:4]] == few[1:]
    assert draws({"a": a}, 4, 8)[1:] != draws({"a": a}, 4, 7)[1:]
    assert draws({"a": a}, 1, 7) == [{}]


def test_the_points_fill_the_range():
    values = np.sort([t["a"] for t in draws({"a": Space.of(("linear", 0, 1), "a")}, 17, 0)[1:]])
    assert np.array_equal(np.floor(values * 16), np.arange(16))  # one in each sixteenth: no random draw does that


def opened(method: str, protocol: str = "quick", **overrides) -> dict[str, Space]:
    return open_options(resolve(method, "digits-lt", protocol, overrides=overrides)[0])


def test_every_method_has_the_protocols_fields_and_its_own():
    rates = ["protocol.optimizer.lr", "protocol.optimizer.weight_decay"]
    assert list(opened("ce")) == rates == list(opened("balanced-softmax")) == list(opened("sqrt"))
    assert list(opened("focal")) == [*rates, "loss.gamma"]
    assert opened("ce")["protocol.optimizer.lr"].values == pytest.approx((0.002, 0.2))
    nested = {"loss.switch", "loss.beta", "loss.base.scale", "loss.base.max_margin"}
    assert nested < set(opened("ldam-drw"))
    assert list(opened("ce", "iois2024")) == rates[:1]
    assert not any(key.startswith("protocol.") for key in opened("diffmic"))  # it owns the optimiser
    assert "classifier.lr" in opened("diffmic")


def test_what_makes_a_method_and_what_the_user_set_stays():
    assert "sampler.temperature" in opened("iois")
    assert "sampler.temperature" not in opened("iois-ois")  # inf: equal counts are the method
    assert "loss.gamma" not in opened("focal", **{"loss.gamma": 1.0})
    assert "loss.gamma" in opened("ce", loss="focal")
    assert "protocol.optimizer.lr" not in opened("ce", **{"protocol.optimizer.lr": 0.01})
    assert "protocol.optimizer.lr" not in opened("ce", optimizer={"name": "sgd", "lr": 0.01, "weight_decay": 0})


def test_every_method_can_be_tuned_under_the_default_protocol():
    for method in ltbench.names("method"):
        for key, space in opened(method).items():
            assert all(space.holds(space.at(u)) for u in (0.0, 0.5, 0.999)), (method, key)


def test_the_spaces_of_all_components_and_protocols_conform():
    spaces = {}
    for entry in plugins().registry.all():
        if entry.kind in CODE_KINDS:
            assert len(list(check_search(entry))) == bool(entry.search())
            spaces |= {(entry.kind, entry.id): entry.search()}
        if entry.kind == "protocol":
            assert list(check_protocol_search(entry.value)), entry.id
    assert spaces["loss", "focal"] and spaces["classifier", "crt"] and spaces["sampler", "deferred"]


def component(search) -> Component:
    made = Component("loss", "mine", "x:Y", "", "", "p")

    class Mine:
        SEARCH = search

        def __init__(self, *, gamma: float = 2.0) -> None:
            if gamma > 5:
                raise ContractError(f"gamma {gamma}")

    made.__dict__["value"] = Mine
    return made


@pytest.mark.parametrize(
    ("search", "error", "text"),
    [
        ({"gama": ("log", 0.5, 5)}, UnknownName, "no option 'gama'. Did you mean gamma"),
        ({"gamma": ("log", 3, 5)}, ContractError, "default gamma=2.0 lies outside of its search space 3 to 5, log"),
        ({"gamma": ("lg", 1, 5)}, PluginError, "no search space"),
        ({"gamma": ("log", 1, 10)}, ContractError, "gamma 10"),  # the constructor refuses an end
    ],
)
def test_the_conformance_suite_finds_wrong_spaces(search, error, text, monkeypatch):
    made = component(search)
    monkeypatch.setattr("ltbench.testing.searching.tiny_options", lambda kind, id, **given: {"name": id, **given})
    with pytest.raises(error, match=text):
        list(check_search(made))


@pytest.mark.parametrize("field", ["optimizer.rate", "learning_rate", "epochs.lr"])
def test_a_protocol_may_search_its_own_fields_alone(field):
    fields = {"optimizer": {"lr": 0.1}, "epochs": 3, "search": {field: ("times", 0.1, 10)}}
    with pytest.raises(LtbenchError, match="which no protocol has"):
        list(check_protocol_search(fields))


def test_a_space_is_shown_without_importing(capsys):
    from ltbench.cli import main

    assert main(["show", "loss", "focal"]) == 0
    assert "SEARCH = {'gamma': ('log', 0.5, 5.0)}" in capsys.readouterr().out
