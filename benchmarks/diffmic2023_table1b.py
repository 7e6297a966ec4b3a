"""DiffMIC, table 1b.

ltbench sweep diffmic2023_table1b
ltbench sweep diffmic2023_table1b --protocol quick --dataset ham10000 --seeds 0-1
"""

title = "DiffMIC, table 1b"
source = "Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI"
protocol = "diffmic2023"
datasets = ["aptos", "ham10000"]
seeds = "0-2"
published = "DiffMIC-MICCAI2023/Table1b"
rows = [
    ("LDAM", "ldam"),
    ("OHEM", "ohem"),
    ("MTL", "mtl"),
    ("DANIL", "danil"),
    ("CL", "cl-supcon"),
    ("ProCo", "proco-proto"),
    ("DiffMIC (ours)", "diffmic"),
]
controls = [("guide alone", "dcg-only")]
