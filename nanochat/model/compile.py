"""torch.compile for shapes that repeat."""

from collections.abc import Callable

import torch
from torch import Tensor

SHAPES = 256
"""Kept of one function; a bucket of rows with a bucket of supervised positions is one."""


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function compiled, once for each shape of its arguments.

    Nothing that differs between points may be in it but tensors: rates are not.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, SHAPES)
    config.accumulated_recompile_limit = max(config.accumulated_recompile_limit, 4 * SHAPES)
    return torch.compile(function, dynamic=False)
