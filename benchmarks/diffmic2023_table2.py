"""DiffMIC, table 2: the ablation, and the controls that it lacks (the private PMG2000 cannot be had; BUSI stands in).

ltbench sweep diffmic2023_table2
ltbench sweep diffmic2023_table2 --protocol quick --dataset busi --seeds 0-1
"""

title = "DiffMIC, table 2 (the private PMG2000 cannot be had; BUSI stands in)"
source = "Yang et al. 2023, DiffMIC: Dual-Guidance Diffusion Network for Medical Image Classification, MICCAI"
protocol = "diffmic2023"
datasets = ["busi"]
seeds = "0-2"
published = "DiffMIC-MICCAI2023/Table2"
stands_for = {"busi": "pmg2000"}
rows = [
    ("basic", "diffmic-basic"),
    ("C1 (+Diffusion)", "diffmic-c1"),
    ("C2 (+Diffusion+DCG)", "diffmic-c2"),
    ("Our method (+MMD-reg)", "diffmic"),
]
controls = [
    ("guide alone", "dcg-only"),
    ("C2, global prior", "diffmic-c2-global-only"),
    ("C2, local prior", "diffmic-c2-local-only"),
    ("Our method, mean of 10", "diffmic-s10"),
    ("Our method, sampler as released", "diffmic-truncated"),
]
