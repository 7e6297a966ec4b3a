"""The protocols as data. Rules in a value: by image size ("by_size"), epochs by the number of training images.

search: what `ltbench tune` may change of the protocol for every method alike, multiples of the value here.
"""

from typing import Any

RATE: dict[str, Any] = {"optimizer.lr": ("times", 0.1, 10.0)}
RATE_AND_DECAY: dict[str, Any] = {**RATE, "optimizer.weight_decay": ("times", 0.1, 10.0)}

QUICK: dict[str, Any] = {
    "split": None,  # the data set's own scheme
    "split_seed": 0,
    "image_size": {"native_up_to": 32, "otherwise": 64},
    "stored_size": None,  # as image_size
    "max_train": 3000,
    "epochs": {"images": 32000, "min": 12, "max": 60},
    "batch_size": 32,
    "backbone": {"by_size": [[16, "small_cnn"], [None, "resnet10t"]]},
    "judge": {"by_size": [[16, "small_resnet"], [None, "small_cnn"]]},
    "weights": "none",
    "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4},
    "schedule": {"name": "cosine", "warmup": 1},
    "augment": {"flip": True, "rotation": 15, "shift": 0.1},
    "precision": "float32",
    "select": "macro_f1",
    "tier": "tiny",
    "synthetic_total": None,
    "synthetic_ratio": 0.1,
    "search": RATE_AND_DECAY,
    "datasets": {"digits-lt": {"synthetic_ratio": 0.2}},
}

STANDARD: dict[str, Any] = {
    **QUICK,
    "image_size": 128,
    "stored_size": 144,
    "max_train": None,
    "epochs": 30,
    "batch_size": 64,
    "backbone": "mobilenetv2_100",
    "judge": "resnet18",
    "weights": "timm",
    "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
    "augment": {"flip": True, "rotation": 15, "shift": 0, "crop": "random"},
    "precision": "bf16",
    "tier": "base",
    "synthetic_ratio": 0.2,
    "datasets": {},
}

STANDARD_SCRATCH: dict[str, Any] = {**STANDARD, "backbone": "resnet18", "judge": "resnet10t", "weights": "none"}

IOIS2024: dict[str, Any] = {
    **QUICK,
    "search": RATE,  # the weight decay is the paper's
    "split": "stratified-ungrouped",
    "image_size": 224,
    "stored_size": 256,
    "max_train": None,
    "epochs": 200,
    "batch_size": 32,
    "backbone": "resnet50",
    "judge": "resnet18",
    "weights": "timm",
    "optimizer": {"name": "sgd", "lr": 0.0125, "momentum": 0.9, "weight_decay": 1e-4},
    "schedule": {"name": "steps", "at": [0.3, 0.6, 0.9], "gamma": 0.1},
    "augment": {"flip": True, "rotation": 30, "shift": 0, "crop": "random"},
    "tier": "paper",
    "synthetic_ratio": 0.2,
    "datasets": {"ham10000": {"synthetic_total": 2000}, "aptos": {"synthetic_total": 600}},
}

IOIS2024_AS_RELEASED: dict[str, Any] = {**IOIS2024, "split": "80-20-released", "select": "accuracy"}

BREAST2025: dict[str, Any] = {
    **QUICK,
    "search": RATE,  # the weight decay is the paper's
    "image_size": 224,
    "stored_size": 256,
    "max_train": None,
    "epochs": 30,
    "batch_size": 64,
    "backbone": "resnet18",
    "judge": "mobilenetv2_100",
    "weights": "timm",
    "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
    "schedule": {"name": "cosine", "warmup": 0},
    "augment": {"flip": True, "rotation": 15, "shift": 0, "crop": "random"},
    "tier": "paper",
    "synthetic_ratio": 0.2,
    "datasets": {},
}

APTOS_AUGMENT = {"flip": True, "vertical_flip": True, "rotation": 30, "shift": 0}

DIFFMIC2023: dict[str, Any] = {
    **QUICK,
    "search": RATE,  # the weight decay is the paper's
    "image_size": 224,
    "stored_size": None,
    "max_train": None,
    "epochs": 1000,
    "batch_size": 32,
    "backbone": "resnet50",
    "judge": "resnet18",
    "weights": "timm",
    "optimizer": {"name": "adamw", "lr": 2e-4, "weight_decay": 0.0},
    "schedule": {"name": "constant"},
    "augment": {"flip": True, "rotation": 30, "shift": 0},
    "tier": "paper",
    "datasets": {
        "aptos": {"split": "column:diffmic_split", "augment": APTOS_AUGMENT},
        "ham10000": {"split": "column:diffmic_split"},
    },
}

DIFFMIC2023_AS_RELEASED: dict[str, Any] = {
    **DIFFMIC2023,
    "select": "accuracy",
    "datasets": {
        "aptos": {"split": "released:diffmic_split", "augment": APTOS_AUGMENT},
        "ham10000": {"split": "released:diffmic_split"},
    },
}

HISTODIFFUSION2023: dict[str, Any] = {
    **QUICK,
    "search": RATE,  # the weight decay is the paper's
    "image_size": 224,
    "stored_size": 256,
    "max_train": None,
    "epochs": 200,
    "batch_size": 128,
    "backbone": "vit_base_patch16_224",
    "judge": "resnet18",
    "weights": "none",
    "optimizer": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup": 5},
    "augment": {"flip": True, "rotation": 0, "shift": 0, "crop": "random"},
    "tier": "paper",
    "synthetic_ratio": 0.5,
    # a tenth of the labels of crc-polyp-he; 5,000 images of PathMNIST, the paper's data at 28 px
    "datasets": {"pathmnist": {"max_train": 5000}, "crc-polyp-he": {"max_train": 315}},
}
