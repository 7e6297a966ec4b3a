"""RL-CAS, table 2: what the synthesiser, its sketch branch and the sampler each add (BreastMNIST only).

ltbench sweep breast2025_table2
ltbench sweep breast2025_table2 --protocol quick --dataset breastmnist --seeds 0-1
The controls are not in the paper; without them the row "Ours" proves nothing about learning.
"""

title = "RL-CAS, table 2 (the private Breast-LT-8 cannot be had; BreastMNIST only)"
source = "Subtyping Breast Lesions via Generative Augmentation based Long-tailed Recognition in Ultrasound, MICCAI 2025"
protocol = "breast2025"
datasets = ["breastmnist"]
seeds = "0-4"
published = "BreastLTGenAug-MICCAI2025/Table2"
stands_for = {"breastmnist": "breast-lt8"}
rows = [
    ("Baseline", "balanced-softmax"),
    ("+ SynClass", "synclass"),
    ("+ SynSketch", "synclass-sketch"),
    ("+ SynClass + Re-sampling", "synclass-resample"),
    ("+ SynClass + RL-CAS", "synclass-rl-cas"),
    ("Ours", "rl-cas"),
]
controls = [
    ("best of 3 random mixes", "bestofk-uniform"),
    ("best of 3 runs of the fixed mix", "bestofk-fixed"),
    ("fixed mix, as many steps", "rl-cas-equal-compute"),
    ("Ours, copies of real images", "rl-cas-real-copies"),
]
