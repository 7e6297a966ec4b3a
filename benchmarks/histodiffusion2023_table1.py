"""HistoDiffusion, table 1 and table 1 of its supplement (PathMNIST and polyp patches stand in for NCT-CRC at 256 px).

ltbench sweep histodiffusion2023_table1
ltbench sweep histodiffusion2023_table1 --protocol quick --dataset crc-polyp-he --seeds 0-1 --set protocol.max_train=315
"""

title = "HistoDiffusion, table 1 and table 1 of its supplement"
source = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI"
protocol = "histodiffusion2023"
datasets = ["pathmnist", "crc-polyp-he"]
seeds = "0-2"
_kinds = ["random-50", "selective-50", "selective-100", "selective-200", "selective-300"]
_models = {
    "StyleGAN2": "stylegan2-",
    "HistoDiffusion": "histodiffusion-",
    "HistoDiffusion w/o small-scale conditional fine-tuning": "histodiffusion-no-finetune-",
    "HistoDiffusion w/o large-scale pre-training": "histodiffusion-no-pretrain-",
}
rows = [
    ("Baseline (5% real images)", "ce"),
    *((f"{model} + {kind.replace('-', ' ')}%", id + kind) for model, id in _models.items() for kind in _kinds),
]
