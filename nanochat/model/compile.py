"""torch.compile for shapes that repeat."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from nanochat.errors import NanochatError

SHAPES = 256
"""Kept of one function; a bucket of rows with a bucket of supervised positions is one."""


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function compiled, once for each shape of its arguments.

    Nothing that differs between points may be in it but tensors: rates are not.

    Raises
    ------
    NanochatError
        If another user owns torch's folder for compiled code.
    """
    _make_cache_private()
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, SHAPES)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 4 * SHAPES)
    return torch.compile(function, dynamic=False)


def _make_cache_private() -> None:
    """Give torch's folder for compiled code mode 0700, or refuse a folder of another user.

    Its name in the system's temporary folder can be guessed, and torch runs the code in it.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    folder = Path(default_cache_dir())
    if os.environ.get("TORCHINDUCTOR_CACHE_DIR", str(folder)) != str(folder):
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise NanochatError(
            f"torch keeps compiled code in {folder}, which another user of this machine has made"
            " and could put code into. Set TORCHINDUCTOR_CACHE_DIR to a folder of your own, for"
            " example TORCHINDUCTOR_CACHE_DIR=~/.cache/torchinductor"
        )
    if facts.st_mode & 0o077:
        folder.chmod(0o700)
