"""HistoDiffusion, table 1 (PathMNIST and polyp patches stand in for NCT-CRC at 256 px).

ltbench sweep histodiffusion2023_table1
ltbench sweep histodiffusion2023_table1 --protocol quick --dataset crc-polyp-he --seeds 0-1 --set protocol.max_train=315
"""

title = "HistoDiffusion, table 1 (PathMNIST and polyp patches stand in for NCT-CRC at 256 px)"
source = "Ye et al. 2023, Synthetic Augmentation with Large-scale Unconditional Pre-training, MICCAI"
protocol = "histodiffusion2023"
datasets = ["pathmnist", "crc-polyp-he"]
seeds = "0-2"
published = "HistoDiffusion-MICCAI2023/Table1"
stands_for = {"pathmnist": "nct-crc-5pct", "crc-polyp-he": "nct-crc-5pct"}
rows = [
    ("Baseline (5% real images)", "ce"),
    ("StyleGAN2 + random 50%", "stylegan2-random-50"),
    ("StyleGAN2 + selective 50%", "stylegan2-selective-50"),
    ("StyleGAN2 + selective 100%", "stylegan2-selective-100"),
    ("StyleGAN2 + selective 200%", "stylegan2-selective-200"),
    ("StyleGAN2 + selective 300%", "stylegan2-selective-300"),
    ("HistoDiffusion + random 50%", "histodiffusion-random-50"),
    ("HistoDiffusion + selective 50%", "histodiffusion-selective-50"),
    ("HistoDiffusion + selective 100%", "histodiffusion-selective-100"),
    ("HistoDiffusion + selective 200%", "histodiffusion-selective-200"),
    ("HistoDiffusion + selective 300%", "histodiffusion-selective-300"),
]
