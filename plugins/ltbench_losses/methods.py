"""Methods that are a loss under the standard classifier."""

CE = {"classifier": "standard", "loss": "ce", "sampler": "instance"}
FOCAL = {
    "classifier": "standard",
    "loss": {"name": "focal", "gamma": 2.0},
    "sampler": "instance",
    "fidelity": {"loss.gamma": "code", "loss.activation": "code"},
}
