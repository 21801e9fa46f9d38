"""Checkpoints in nanochat's format: ``model_%06d.pt`` with the weights, ``meta_%06d.json`` beside.

Only generation 0 is read; weights of later ones are refused by name, not computed wrongly.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.errors import NanochatError, Note
from nanochat.files.atomic import write_atomically
from nanochat.files.git_lfs import refuse_pointer
from nanochat.model.generations import later_tensors, later_windows
from nanochat.model.gpt import GPT, GPTConfig
from nanochat.model.torch_file import check_bytes, read_tensors

# Prefixes that torch.compile and DistributedDataParallel add to every key, in any order.
_WRAPPERS = re.compile(r"(?:_orig_mod\.|module\.)+")
VOCABULARY = ("transformer.wte.weight", "lm_head.weight")
FINGERPRINT = "model_fingerprint"  # key of the meta file; nanochat itself passes over it
# Limits of a config from a file: these fields cost memory and time before the tensors are read.
LIMITS = {"sequence_len": 2**17, "n_layer": 2**10}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights, config, step and metadata of a model.

    Attributes
    ----------
    state
        Dict of str to tensor.
        On the CPU, in the dtypes of the file (mapped, not read, until used).
    step
        From the file's name: not every meta file has one.
    meta
        The meta file.
    """

    state: dict[str, Tensor]
    config: GPTConfig
    step: int
    meta: dict[str, Any]

    @cached_property
    def fingerprint(self) -> str:
        """Return the SHA-256 (hex) of the config and of every tensor's name, dtype, shape and
        bytes.
        """
        digest = hashlib.sha256(json.dumps(asdict(self.config), sort_keys=True).encode())
        for key in sorted(self.state):
            tensor = self.state[key]
            digest.update(f"\n{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def weights(source: GPT | Checkpoint) -> dict[str, Tensor]:
    """Return the tensors of a model or a checkpoint on the CPU, by nanochat's names."""
    state = source.state if isinstance(source, Checkpoint) else source.state_dict()
    return {key: tensor.detach().cpu() for key, tensor in state.items()}


def save_checkpoint(
    folder: Path, model: GPT | Checkpoint, step: int, meta: Mapping[str, Any]
) -> Path:
    """Write a model's weights and meta file; an interrupted write leaves no checkpoint.

    Parameters
    ----------
    folder
        Made if needed.
    model
        Dtypes are kept.
    step
        0 to 999,999; becomes part of the names.
    meta
        Plain JSON values. ``step``, ``model_config`` and ``model_fingerprint`` are added.

    Returns
    -------
    Path
        The meta file: written last, it is what makes the checkpoint one.

    Raises
    ------
    NanochatError
        Names a key of `meta`, or a tensor, with a number that is not finite; nothing has been
        written then.
    """
    model_path, meta_path = _paths(Path(folder), step)
    for key, value in meta.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise NanochatError(f"{meta_path}: {key} must be finite, or null") from error
    state = weights(model)
    check_finite(model_path, state)
    content = {**meta, "step": step, "model_config": asdict(model.config)}
    content[FINGERPRINT] = Checkpoint(state, model.config, step, {}).fingerprint
    text = json.dumps(content, indent=2) + "\n"
    meta_path.unlink(missing_ok=True)  # an old meta file must not go with new weights
    write_atomically(model_path, lambda file: torch.save(state, file))
    write_atomically(meta_path, lambda file: file.write(text.encode()))
    return meta_path


def find_checkpoint(folder: Path, step: int | None = None) -> int:
    """Find the step of a checkpoint in a folder: `step`, or the newest complete one.

    Raises
    ------
    NanochatError
        Where there is none with both of its files.
    """
    steps = _complete_steps(Path(folder))
    if step is None and steps:
        return steps[-1]
    if step is None or step not in steps:
        wanted = "model_*.pt with its meta_*.json" if step is None else f"step {step}"
        have = f"; it has steps {steps}" if steps else ""
        raise NanochatError(f"no checkpoint in {folder}: {wanted} is missing{have}")
    return step


def load_checkpoint(folder: Path, step: int | None = None) -> Checkpoint:
    """Read a checkpoint and make sure that it is one of this model.

    Nothing in the files is run.

    Parameters
    ----------
    step
        If not given, the newest complete one, with a UserWarning that names the others.

    Raises
    ------
    NanochatError
        Names the file, and the key where a tensor is missing, too many, of the wrong shape, of a
        later generation, or not finite; or where the meta file has a fingerprint of other weights.
    """
    folder = Path(folder)
    chosen = find_checkpoint(folder, step)
    others = [str(other) for other in _complete_steps(folder) if other != chosen]
    if step is None and others:
        message = f"{folder}: step {chosen}, the newest, is used; also there: {', '.join(others)}"
        warnings.warn(message, Note, stacklevel=2)
    model_path, meta_path = _paths(folder, chosen)
    meta, config = _read_meta(meta_path)
    state = unwrapped(model_path, read_tensors(model_path))
    check_bytes(model_path, state)
    check_state(model_path, config, state)
    # After the weights, which show the generation more precisely.
    if reason := later_windows(meta["model_config"].get("window_pattern", "L")):
        raise NanochatError(f"{meta_path}: {reason}")
    checkpoint = Checkpoint(state, config, chosen, meta)
    _check_fingerprint(model_path, meta_path, checkpoint)
    return checkpoint


def _check_fingerprint(path: Path, meta_path: Path, checkpoint: Checkpoint) -> None:
    if checkpoint.meta.get(FINGERPRINT) not in (None, checkpoint.fingerprint):
        raise NanochatError(
            f"{path}: its weights or their config are not those that were saved ({FINGERPRINT} in"
            f" {meta_path.name}): a file is damaged or was changed; take a sound copy of both, or,"
            f" if the change is meant, delete {FINGERPRINT} from {meta_path.name}"
        )


def build_model(config: GPTConfig, state: Mapping[str, Tensor]) -> GPT:
    """Build a model on the CPU from float32 copies of weights; vocabulary rows may be padded."""
    model = GPT(config, vocab_rows=state["lm_head.weight"].size(0))
    model.load_state_dict(dict(state))
    return model


def _paths(folder: Path, step: int) -> tuple[Path, Path]:
    return folder / f"model_{step:06d}.pt", folder / f"meta_{step:06d}.json"


def _complete_steps(folder: Path) -> list[int]:
    """Return the steps with both files, ascending."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    models = [re.fullmatch(r"model_(\d{6}|[1-9]\d{6,})\.pt", name) for name in names]
    return sorted(int(m[1]) for m in models if m and f"meta_{m[1]}.json" in names)


def unwrapped(path: Path, state: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    """Return tensors under the names of the bare model, without the prefixes of its wrappers.

    Raises
    ------
    NanochatError
        Where two keys become one name.
    """
    keys: dict[str, Any] = {}
    for key in state:
        prefix = _WRAPPERS.match(str(key))
        name = str(key)[prefix.end() if prefix else 0 :]
        if name in keys:
            raise NanochatError(f"{path}: {keys[name]} and {key} are both tensor {name}")
        keys[name] = key
    return {name: state[key] for name, key in keys.items()}


def _read_meta(path: Path) -> tuple[dict[str, Any], GPTConfig]:
    refuse_pointer(path)
    try:
        meta = _need(json.loads(path.read_bytes()), dict, "it must be an object")
        given = _need(meta["model_config"], dict, "model_config must be an object")
        config = GPTConfig(**{field.name: given[field.name] for field in fields(GPTConfig)})
        for name, value in vars(config).items():
            check_limit(name, name, value)
        _need(given.get("window_pattern", "L"), str, "window_pattern must be text")
    except KeyError as error:
        raise NanochatError(f"{path}: no {error.args[0]}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise NanochatError(f"{path}: {error}") from error
    return meta, config


def _need(value: Any, kind: type, wish: str) -> Any:
    if not isinstance(value, kind):
        raise NanochatError(f"{wish}, not {json.dumps(value)[:40]}")
    return value


def check_limit(field: str, name: str, value: int) -> None:
    """Refuse a number of a config that is beyond `LIMITS`; the message calls it `name`."""
    if value > LIMITS.get(field, value):
        raise NanochatError(f"{name} must be at most {LIMITS[field]:,}, not {value:,}")


def check_state(path: Path, config: GPTConfig, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not those of a config's model; the message names the file and key."""
    if reason := later_tensors({key: tuple(tensor.shape) for key, tensor in state.items()}):
        raise NanochatError(f"{path}: {reason}")
    with torch.device("meta"):
        expected = {key: tuple(v.shape) for key, v in GPT(config).state_dict().items()}
    for key in [*expected, *state]:
        if key not in state:
            raise NanochatError(f"{path}: no tensor {key}")
        if key not in expected:
            raise NanochatError(f"{path}: unexpected tensor {key}")
    rows = state["lm_head.weight"].size(0) if state["lm_head.weight"].dim() else 0
    for key, shape in expected.items():
        # Newer files pad the vocabulary; both matrices alike.
        wanted = (max(rows, config.vocab_size), shape[1]) if key in VOCABULARY else shape
        if tuple(state[key].shape) != wanted:
            raise NanochatError(
                f"{path}: {key} has shape {tuple(state[key].shape)}; the config wants {wanted}"
            )
        if not state[key].is_floating_point():
            raise NanochatError(f"{path}: {key} is {state[key].dtype}, not floating-point")
    check_finite(path, state)


def check_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """Refuse weights with values that are not finite; the message names the file and tensor."""
    if reason := not_finite(state):
        raise NanochatError(
            f"{path}: {reason}. Such weights give no loss: take another checkpoint, or a sound copy"
            " of the file"
        )


def not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Describe the first tensor that is not finite in float32, in which models compute.

    Returns
    -------
    str or None
        A clause that starts with the tensor's name; None where all values are finite.
    """
    for key, tensor in state.items():
        values = tensor.float()
        if not values.numel() or torch.stack(values.aminmax()).isfinite().all():
            continue
        places = (~values.isfinite()).nonzero()
        first = places[0].tolist()
        return (
            f"{key} has {len(places):,} of {values.numel():,} values that are not finite (the first"
            f" one, {tensor[tuple(first)].item()}, at {first})"
        )
    return None
