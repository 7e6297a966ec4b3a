"""DiffMIC, table 1a (the private PMG2000 cannot be had; BUSI stands in).

ltbench sweep diffmic2023_table1a
ltbench sweep diffmic2023_table1a --protocol quick --dataset busi --seeds 0-1
"""

title = "DiffMIC, table 1a (the private PMG2000 cannot be had; BUSI stands in)"
source = "Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI"
protocol = "diffmic2023"
datasets = ["busi"]
seeds = "0-2"
published = "DiffMIC-MICCAI2023/Table1a"
stands_for = {"busi": "pmg2000"}
rows = [
    ("ResNet", "ce-resnet"),
    ("ViT", "ce-vit"),
    ("Swin", "ce-swin"),
    ("PVT", "ce-pvt"),
    ("GMIC", "gmic"),
    ("DiffMIC (ours)", "diffmic"),
]
controls = [("guide alone", "dcg-only")]
