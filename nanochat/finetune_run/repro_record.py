"""Record of the machine and the software, from which a run can be repeated."""

import os
import platform
import socket
import subprocess
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

_VARIABLES = (
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_ORDER",
    "CUDA_VISIBLE_DEVICES",
    "NCCL_ALGO",
    "NCCL_PROTO",
    "NCCL_MIN_NRINGS",
    "NCCL_DEBUG",
    "PYTHONHASHSEED",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "HF_HUB_OFFLINE",
    "HF_DATASETS_OFFLINE",
)
_FIXED = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def fix_environment(environment: MutableMapping[str, str]) -> None:
    """Set the variables that CUDA reads only at its start; existing values stay.

    A fixed workspace for cuBLAS, without which it is not deterministic, and numbers of GPUs that
    follow the bus. The rest of what makes a run deterministic is set around the training itself
    (`nanochat.model.torch_settings`).
    """
    for name, value in _FIXED.items():
        environment.setdefault(name, value)


def repro_record() -> dict[str, Any]:
    """Return versions, settings and machine as plain JSON types; None for a missing value."""
    import torch
    from torch.cuda import nccl

    cuda = torch.cuda.is_available()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if cuda else None,
        "nccl": ".".join(map(str, nccl.version())) if cuda else None,
        "gpus": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "threads": torch.get_num_threads(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "environment": {name: os.environ.get(name) for name in _VARIABLES},
        "git_commit": _git_commit(Path(__file__).parents[1]),
        "hostname": socket.gethostname(),
        "devpod_name": os.environ.get("DEVPOD_NAME"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        named = (line.split(":", 1)[1] for line in lines if line.startswith("model name"))
        return next(named).strip()
    except (OSError, StopIteration):
        return platform.processor()


def _git_commit(folder: Path) -> str | None:
    """Return the commit of the code, with ``+`` if files have changed; None if installed."""
    try:
        # Only a repository with this package: an environment may lie inside another repository.
        _git(folder, "ls-files", "--error-unmatch", "errors.py")
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "-uno", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
