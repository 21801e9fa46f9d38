"""Tensors of a file of `torch.save`, read without running anything that the file asks for."""

import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.errors import NanochatError, first_line
from nanochat.files.git_lfs import refuse_pointer
from nanochat.files.pickle_limits import LARGEST_FILE, check_pickle

# All that a file of dense tensors asks for. Torch allows more names, and some of them take memory
# without bounds: bytearray(10**12), UntypedStorage(10**12).
_DENSE = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(tensor|tensor_v2|parameter)"
    r"|torch\.(Double|Float|Half|BFloat16|Long|Int|Short|Char|Byte|Bool)Storage"
)
_LONGEST_NAME = 200


def read_tensor(path: Path) -> Tensor:
    """Read a file with one tensor; raises as `read_tensors` and `check_bytes`."""
    loaded = _load(path)
    if not torch.is_tensor(loaded):
        raise NanochatError(f"{path} holds something other than one tensor")
    check_bytes(path, {"the tensor": loaded})
    return loaded.detach()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a file with named tensors, on the CPU; their values are mapped, not read, until used.

    Raises
    ------
    NanochatError
        Names the file, where it cannot be read, holds something else, or asks for a class or
        function that dense tensors do not need.
    """
    loaded = _load(path)
    if not isinstance(loaded, dict) or not all(torch.is_tensor(v) for v in loaded.values()):
        raise NanochatError(f"{path} holds something other than named tensors")
    if not all(isinstance(key, str) and len(key) <= _LONGEST_NAME for key in loaded):
        raise NanochatError(f"{path} holds a tensor without a name, or with a very long one")
    return {key: tensor.detach() for key, tensor in loaded.items()}


def check_bytes(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that have more values than their file: a few bytes may stand for terabytes.

    Raises
    ------
    NanochatError
        Names the file and the largest tensor. Nothing has been allocated.
    """
    held = path.stat().st_size
    sizes = {key: math.prod(each.shape) * each.element_size() for key, each in tensors.items()}
    if sum(sizes.values()) > held:
        largest = max(sizes, key=sizes.__getitem__)
        raise NanochatError(
            f"{path} has {held:,} bytes, and its tensors need {sum(sizes.values()):,} ({largest}"
            f" alone {sizes[largest]:,}): values are repeated, in expanded or shared tensors; where"
            " that is meant, save a clone() of each tensor"
        )


def _load(path: Path) -> Any:
    refuse_pointer(path)
    try:
        check_pickle(_instructions(path), lambda name: _DENSE.fullmatch(name) is not None)
    except MemoryError:
        raise
    except NanochatError as error:
        raise NanochatError(f"{path} is refused: {error}; only plain tensors are read") from error
    except Exception as error:  # a damaged file raises errors of many types
        raise NanochatError(f"{path} cannot be read: {first_line(error)}") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        # Torch's own text advises to switch the protection off.
        name = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {name[1]}" if name else "it is damaged, or holds more"
        raise NanochatError(f"{path} is refused: {reason}; only plain tensors are read") from error
    except Exception as error:
        raise NanochatError(f"{path} cannot be read: {first_line(error)}") from error


def _instructions(path: Path) -> bytes:
    """Return the pickle of an archive, by torch's own reader; ValueError for another file."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("cut short, or not written by torch.save")
        entries = zipfile.ZipFile(file).infolist()
        held = file.seek(0, 2)
    # torch.save compresses nothing: what is larger than the file would be unpacked in memory.
    if any(entry.compress_type for entry in entries) or sum(e.file_size for e in entries) > held:
        raise ValueError("it is compressed, and torch.save compresses nothing")
    largest = max((e.file_size for e in entries if e.filename.endswith("/data.pkl")), default=0)
    if largest > LARGEST_FILE:
        raise ValueError(f"its data.pkl has {largest:,} bytes; at most {LARGEST_FILE:,} are read")
    return torch._C.PyTorchFileReader(str(path)).get_record("data.pkl")
