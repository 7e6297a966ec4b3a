"""HistoDiffusion, table 1 of the supplement: the ablation (stand-ins as in histodiffusion2023_table1).

ltbench sweep histodiffusion2023_supptable1
ltbench sweep histodiffusion2023_supptable1 --protocol quick --dataset crc-polyp-he --set protocol.max_train=315
"""

title = "HistoDiffusion, table 1 of the supplement (PathMNIST and polyp patches stand in for NCT-CRC at 256 px)"
source = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI, supplement"
protocol = "histodiffusion2023"
datasets = ["pathmnist", "crc-polyp-he"]
seeds = "0-2"
_without = {
    "HistoDiffusion w/o small-scale conditional fine-tuning": "histodiffusion-no-finetune",
    "HistoDiffusion w/o large-scale pre-training": "histodiffusion-no-pretrain",
}
_kinds = ["random-50", "selective-50", "selective-100", "selective-200", "selective-300"]
published = "HistoDiffusion-MICCAI2023/SuppTable1"
stands_for = {"pathmnist": "nct-crc-5pct", "crc-polyp-he": "nct-crc-5pct"}
rows = [
    (f"{model} + {_kind.replace('-', ' ')}%", f"{_id}-{_kind}") for model, _id in _without.items() for _kind in _kinds
]
