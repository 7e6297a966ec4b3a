"""The built-in metrics: numbers about predictions and about synthetic images."""

from typing import Any

import ltbench


@ltbench.hookimpl
def ltbench_register(registry: Any) -> None:
    registry.add(
        "metric",
        "classification",
        "ltbench_metrics.classification:Classification",
        summary="Macro-F1, balanced accuracy, MCC, AUC, calibration and the rest, per class and by class size",
        cite="Liu et al., CVPR 2019 (groups); Gorodkin 2004 (MCC); Guo et al., ICML 2017 (ECE)",
    )
    registry.add(
        "metric",
        "generation",
        "ltbench_metrics.generation:Generation",
        summary="Distances with floors, precision to coverage, class consistency, diversity and copies of a pool",
        cite="Heusel et al., NeurIPS 2017 (Frechet); Binkowski et al., ICLR 2018 (kernel); "
        "Kynkaanniemi et al., NeurIPS 2019 (precision, recall); Naeem et al., ICML 2020 (density, coverage)",
    )
