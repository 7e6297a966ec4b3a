"""IOIS, table 1.

ltbench sweep iois2024_table1
ltbench sweep iois2024_table1 --protocol quick --dataset aptos --seeds 0-1
"""

title = "IOIS, table 1"
source = "Li et al. 2024, Iterative Online Image Synthesis via Diffusion Model for Imbalanced Classification, MICCAI"
protocol = "iois2024"
datasets = ["ham10000", "aptos"]
seeds = "0-2"
published = "IOIS-MICCAI2024/Table1"
rows = [
    ("CE Loss", "ce"),
    ("Focal Loss", "focal"),
    ("CB-Focal", "cb-focal"),
    ("Sqrt-RS", "sqrt"),
    ("PG-RS", "progressive"),
    ("Cell-GAN", "cellgan"),
    ("StyleGAN2-ADA", "stylegan2-ada"),
    ("Ours (+offline)", "iois-offline"),
    ("Ours (+OIS)", "iois-ois"),
    ("Ours (+OIS+AAS)", "iois"),
]
