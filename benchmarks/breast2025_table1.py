"""RL-CAS, table 1: BreastMNIST, and the paper's numbers alone of the private Breast-LT-8, which cannot be had.

ltbench sweep breast2025_table1
ltbench sweep breast2025_table1 --protocol quick --dataset breastmnist --seeds 0-1
"""

title = "RL-CAS, table 1"
source = "Subtyping Breast Lesions via Generative Augmentation based Long-tailed Recognition in Ultrasound, MICCAI 2025"
protocol = "breast2025"
datasets = ["breastmnist"]
absent = ["breast-lt8"]
seeds = "0-2"
published = "BreastLTGenAug-MICCAI2025/Table1"
rows = [
    ("Baseline", "balanced-softmax"),
    ("CBFocal", "cb-focal"),
    ("Logit-Adjust", "logit-adjustment"),
    ("LIFT", "lift"),
    ("ProCo", "proco-vmf"),
    ("NCL", "ncl"),
    ("GLMC", "glmc"),
    ("MGDM", "mgdm"),
    ("Skin-SDM", "skin-sdm"),
    ("Ours", "rl-cas"),
]
