"""The rows of the RL-CAS paper and the controls without which they prove nothing, as plain recipes.

fidelity: where each value comes from, "paper", "assumed" (the paper is silent; there is no code) or "control".
"""

from typing import Any

GENERATOR: dict[str, Any] = {"name": "synclass", "sketch": False, "cfg": 2.0}
SKETCHED: dict[str, Any] = {**GENERATOR, "sketch": True, "sketch_weight": 0.1, "edges": "sobel"}
ULTRASOUND = {name: {"generator.edges_sigma": 2.0} for name in ("breastmnist", "busi")}  # whose speckle has edges too
LEARNED: dict[str, Any] = {"name": "rl-cas", "k": 3, "start": 2, "move": 2, "agents": "learned"}
FIXED: dict[str, Any] = {"name": "rl-cas", "k": 1, "start": 2, "agents": "fixed"}

COMMON = {"method": "paper", "classifier.name": "assumed", "loss.name": "paper"}
SYNTHESIS = {
    "generator.name": "paper",
    "generator.sketch": "paper",
    "generator.cfg": "assumed",
    "generator.schedule": "assumed",
    "generator.prediction": "assumed",
    "generator.label_power": "assumed",
    "generator.steps": "assumed",
    "generator.sampler": "assumed",
    "generator.ema": "assumed",
    "generator.p_uncond": "assumed",
    "generator.lr": "paper",
}
BRANCH = {"generator.sketch_weight": "paper", "generator.edges": "assumed", "generator.edges_sigma": "assumed"}
STATE = {
    "sampler.name": "paper",
    "sampler.start": "paper",
    "sampler.pool": "assumed",
    "sampler.base": "assumed",
}
AGENTS = {
    **STATE,
    "sampler.k": "paper",
    "sampler.move": "paper",
    "sampler.low": "assumed",
    "sampler.high": "assumed",
    "sampler.agents": "paper",
    "sampler.hidden": "assumed",
    "sampler.lr": "paper",
    "sampler.gamma": "paper",
    "sampler.reward_shift": "paper",
    "sampler.reward_power": "paper",
    "sampler.order": "assumed",
}
CONTROL = {"method": "control", "sampler.agents": "control"}


def _method(sampler: dict[str, Any], generator: str | dict[str, Any], *marks: dict[str, str]) -> dict[str, Any]:
    sketched = isinstance(generator, dict) and generator["sketch"]
    return {
        "classifier": "standard",
        "loss": "balanced-softmax",
        "sampler": sampler,
        "generator": generator,
        **({"datasets": ULTRASOUND} if sketched else {}),
        "fidelity": {key: level for mark in (COMMON, *marks) for key, level in mark.items()},
    }


RL_CAS = _method(LEARNED, SKETCHED, SYNTHESIS, BRANCH, AGENTS)
SYNCLASS_RL_CAS = _method(LEARNED, GENERATOR, SYNTHESIS, AGENTS)
SYNCLASS = _method(FIXED, GENERATOR, SYNTHESIS, STATE, {"sampler.agents": "assumed", "sampler.start": "assumed"})
SYNCLASS_SKETCH = _method(FIXED, SKETCHED, SYNTHESIS, BRANCH, SYNCLASS["fidelity"])
SYNCLASS_RESAMPLE = _method(
    {
        "name": "freemask",
        "rule": "original",
        "ratio": 1.0,
        "warmup": 0.1,
        "base": {"name": "mixed-batches", "per_class": 2},
    },
    GENERATOR,
    SYNTHESIS,
    {
        "sampler.name": "paper",
        "sampler.rule": "assumed",
        "sampler.ratio": "assumed",
        "sampler.warmup": "assumed",
        "sampler.base.name": "assumed",
        "sampler.base.per_class": "assumed",
    },
)
BESTOFK_UNIFORM = _method({**LEARNED, "agents": "uniform"}, SKETCHED, SYNTHESIS, BRANCH, AGENTS, CONTROL)
BESTOFK_FIXED = _method(
    {**FIXED, "k": 3, "order": "independent"},
    SKETCHED,
    SYNTHESIS,
    BRANCH,
    STATE,
    {**CONTROL, "sampler.k": "control", "sampler.order": "control"},
)
EQUAL_COMPUTE = _method(
    {**FIXED, "passes": 3},
    SKETCHED,
    SYNTHESIS,
    BRANCH,
    STATE,
    {**CONTROL, "sampler.k": "control", "sampler.passes": "control"},
)
REAL_COPIES = _method(LEARNED, "real-copies", AGENTS, {"method": "control", "generator.name": "control"})
