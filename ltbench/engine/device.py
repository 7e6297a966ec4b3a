"""The device policy: one object decides device, precision, memory layout and determinism."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from ltbench.errors import UserError

TINY = 16  # pixels
THREADS = torch.get_num_threads()


@dataclass(frozen=True)
class DevicePolicy:
    """Where and how networks run; `precision` is "float32" or "bf16"."""

    device: torch.device
    precision: str = "float32"

    @classmethod
    def choose(cls, device: str, precision: str, image_size: int = 64) -> DevicePolicy:
        """ "auto" takes CUDA where there is one; asking for a missing CUDA is an error."""
        if device not in ("auto", "cpu", "cuda") and not device.startswith("cuda:"):
            raise UserError(f"unknown device {device!r}; use auto, cpu or cuda")
        has_cuda = torch.cuda.is_available()
        if device.startswith("cuda") and not has_cuda:
            raise UserError("--device cuda: torch sees no CUDA device here; use --device cpu or auto")
        name = device if device != "auto" else ("cuda" if has_cuda else "cpu")
        if name.startswith("cuda"):
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True
        else:  # more threads only wait for each other on images this small
            torch.set_num_threads(1 if image_size <= TINY else THREADS)
        return cls(torch.device(name), precision)

    @property
    def is_cuda(self) -> bool:
        """Whether networks run on a GPU."""
        return self.device.type == "cuda"

    def autocast(self) -> AbstractContextManager[object]:
        """bf16 autocast on CUDA where the protocol asks for it, else float32."""
        if self.precision == "bf16" and self.is_cuda:
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """Move a module to the device, channels_last: faster on GPUs and CPUs alike."""
        return module.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def synchronise(self) -> None:
        """Wait for the device, for honest clocks."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        """Measure peak memory from here on; on a CPU where the system can (Linux)."""
        if self.is_cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def peak_memory(self) -> int:
        """Bytes since `forget_peak`: the process's resident peak on a CPU, the allocator's on a GPU."""
        if self.is_cuda:
            return int(torch.cuda.max_memory_allocated(self.device))
        with suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def __str__(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.is_cuda else "cpu"
