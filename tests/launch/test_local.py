"""One process, many cells."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from ltbench.launch import local


def test_a_finished_cell_leaves_nothing_in_memory(tmp_path: Path, monkeypatch: Any) -> None:
    opened, kept = local.open_context, []

    def watched(*args: Any) -> Any:
        context = opened(*args)
        kept.append(weakref.ref(context))
        return context

    monkeypatch.setattr(local, "open_context", watched)
    for seed in range(2):
        local.run_one(method="ce", dataset="digits-lt", seed=seed, overrides={"protocol.epochs": 1}, out=tmp_path)
    assert len(kept) == 2 and all(reference() is None for reference in kept)


def test_the_protocol_is_chosen_once_by_device_and_weights(monkeypatch: Any) -> None:
    """A sweep hands the name on, so that a job on another machine cannot choose another."""
    for key in ("weights", "protocol.weights"):
        given = {key: "file.safetensors"}
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        assert local.chosen_protocol(None, given) == "standard"
        assert local.chosen_protocol(None, given, "cpu") == "quick"
        assert local.chosen_protocol("iois2024", given) == "iois2024"
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        assert local.chosen_protocol(None, given) == "quick"
    assert local.chosen_protocol(None, {}) == "quick"
