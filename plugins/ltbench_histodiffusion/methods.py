"""All rows of the paper's table 1 and of its ablation, as plain recipes; Ye et al. 2023.

fidelity: where each value comes from, "paper", "code" (the authors' release) or "assumed" (neither says).
"""

from typing import Any

from ltbench_selective.methods import offline_row

FIDELITY = {
    "generator.label_power": "assumed",
    "generator.schedule": "code",
    "generator.loss": "paper",
    "generator.form": "code",
    "generator.eta": "code",
    "generator.prediction": "assumed",
}


def _row(ratio: float, select: bool = True, **options: Any) -> dict[str, Any]:
    marks = {key.replace("generator.", "generator.base.") if select else key: mark for key, mark in FIDELITY.items()}
    return offline_row({"name": "histodiffusion", **options}, ratio, select=select, fidelity=marks)


RANDOM_50 = _row(0.5, select=False)
SELECTIVE_50 = _row(0.5)
SELECTIVE_100 = _row(1.0)
SELECTIVE_200 = _row(2.0)
SELECTIVE_300 = _row(3.0)

NO_FINETUNE_RANDOM_50 = _row(0.5, select=False, decoder_tuning=False)
NO_FINETUNE_SELECTIVE_50 = _row(0.5, decoder_tuning=False)
NO_FINETUNE_SELECTIVE_100 = _row(1.0, decoder_tuning=False)
NO_FINETUNE_SELECTIVE_200 = _row(2.0, decoder_tuning=False)
NO_FINETUNE_SELECTIVE_300 = _row(3.0, decoder_tuning=False)

NO_PRETRAIN_RANDOM_50 = _row(0.5, select=False, pretrain=False)
NO_PRETRAIN_SELECTIVE_50 = _row(0.5, pretrain=False)
NO_PRETRAIN_SELECTIVE_100 = _row(1.0, pretrain=False)
NO_PRETRAIN_SELECTIVE_200 = _row(2.0, pretrain=False)
NO_PRETRAIN_SELECTIVE_300 = _row(3.0, pretrain=False)
