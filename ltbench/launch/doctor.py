"""What a bug report needs: versions, device, plugins, folders."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ltbench
from ltbench.data.roots import cache_root, data_root
from ltbench.plugins import plugins


def report(root: str | Path | None = None) -> str:
    """Lines of facts; nothing is changed."""
    import torch

    loaded = plugins()
    lines = [f"ltbench {ltbench.__version__}, Python {platform.python_version()}, {platform.platform()}"]
    for name in ("torch", "torchvision", "timm", "diffusers", "mmengine", "medmnist", "kagglehub"):
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    cuda = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none"
    lines.append(f"CUDA device: {cuda}; CPU threads: {torch.get_num_threads()}")
    lines.append(f"data root: {data_root(root)}; cache: {cache_root()}")
    lines.append(f"plugins: {len({c.plugin for c in loaded.registry.all()})}, components: {len(loaded.registry.all())}")
    lines += [f"left out: {q.target}: {q.error}" for q in loaded.quarantined]
    return "\n".join(lines)
