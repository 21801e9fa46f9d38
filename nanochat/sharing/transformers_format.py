"""Models in the files of transformers' ``NanoChatForCausalLM``, written and read bit for bit.

``config.json``, ``model.safetensors``, ``generation_config.json`` and the tokenizer's two files.
The weights are nanochat's own under other names; nothing is turned or scaled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.errors import NanochatError, first_line, missing_library, quoted
from nanochat.files.atomic import write_atomically
from nanochat.files.git_lfs import refuse_pointer
from nanochat.files.panics import panics_as_errors
from nanochat.model.checkpoint import (
    VOCABULARY,
    Checkpoint,
    check_finite,
    check_limit,
    check_state,
    unwrapped,
    weights,
)
from nanochat.model.config import GPTConfig
from nanochat.model.gpt import GPT, ROPE_BASE, SOFT_CAP
from nanochat.sharing.published import check_size
from nanochat.sharing.transformers_tokenizer import BOS, END, export_tokenizer, import_tokenizer
from nanochat.tokenizer.tokenizer import Tokenizer

_DIGEST = "nanochat_digest"  # key in the metadata of the weights; transformers passes over it
WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
GENERATION = "generation_config.json"
EXPORTED = (CONFIG, WEIGHTS, GENERATION, "tokenizer.json", "tokenizer_config.json")

_ARCHITECTURE = "NanoChatForCausalLM"
_INSIDE = {  # names in a block
    "attn.c_q": "self_attn.q_proj",
    "attn.c_k": "self_attn.k_proj",
    "attn.c_v": "self_attn.v_proj",
    "attn.c_proj": "self_attn.o_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
# Fixed properties of this model; also transformers' defaults.
_FIXED = {
    "hidden_act": "relu2",
    "attention_dropout": 0.0,
    "attention_bias": False,
    "rms_norm_eps": 1e-6,
    "final_logit_softcapping": SOFT_CAP,
    "tie_word_embeddings": False,
}
_SHAPE = {  # names of transformers to names of GPTConfig
    "max_position_embeddings": "sequence_len",
    "vocab_size": "vocab_size",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "num_key_value_heads": "n_kv_head",
    "hidden_size": "n_embd",
}


def export_transformers(source: Checkpoint | GPT, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write a folder that ``AutoModelForCausalLM`` and ``AutoTokenizer`` read.

    Values and dtypes are kept, but for rows of the two vocabulary matrices beyond ``vocab_size``
    (padding of newer checkpoints, which no token uses): these are cut off.

    transformers computes its rotary tables in the model's dtype, nanochat always rounds them to
    bfloat16. So float32 logits differ by what that rounding makes: some hundredths.

    Parameters
    ----------
    tokenizer
        Tokenizer of the model.
    folder
        Created if needed. Files with the names of `EXPORTED` are replaced.

    Returns
    -------
    Path
        ``config.json``, which is written last: without it the folder is no model.

    Raises
    ------
    NanochatError
        If the tokenizer has another number of tokens than the model, or a weight is not finite.
    """
    try:
        from safetensors.torch import save_file
    except ModuleNotFoundError as error:
        raise missing_library("nanochat export", "safetensors", "export") from error

    config, folder = source.config, Path(folder)
    check_size(tokenizer, source)
    state = weights(source)
    for name in VOCABULARY:
        state[name] = state[name][: config.vocab_size]
    check_finite(folder / WEIGHTS, state)
    named = {theirs: state[ours].contiguous() for ours, theirs in _names(config.n_layer).items()}
    step = source.step if isinstance(source, Checkpoint) else None
    metadata = {"format": "pt"} | ({} if step is None else {"step": str(step)})
    metadata[_DIGEST] = _digest(Checkpoint(state, config, step or 0, {}), tokenizer)
    (folder / CONFIG).unlink(missing_ok=True)
    export_tokenizer(tokenizer, folder, config.sequence_len)
    # By name, not through the open file: whole weights would be copied in memory first.
    write_atomically(folder / WEIGHTS, lambda file: save_file(named, file.name, metadata=metadata))
    bos, end = tokenizer.special[BOS], tokenizer.special[END]
    ids = {"bos_token_id": bos, "eos_token_id": end, "pad_token_id": end}
    _write(folder / GENERATION, {**ids, "eos_token_id": [end, bos]})
    return _write(folder / CONFIG, {**_config(config, named), **ids})


def import_transformers(folder: Path) -> tuple[Checkpoint, Tokenizer]:
    """Read model and tokenizer of a folder in transformers' format; only safetensors are read.

    The step is the one that `export_transformers` noted among the weights, else 0.

    Raises
    ------
    NanochatError
        Names the file and what in it is missing, of another architecture, or computed otherwise
        than here.
    """
    folder = Path(folder)
    given = _read(folder / CONFIG)
    try:
        config = _shape(given)
        state, noted = _weights(folder, config)
    except (NanochatError, TypeError, AttributeError) as error:
        raise NanochatError(f"{folder}: {error}") from error
    tokenizer = import_tokenizer(folder)
    if tokenizer.vocab_size != config.vocab_size:
        raise NanochatError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, "
            f"config.json {config.vocab_size}"
        )
    step = noted.get("step", "0")
    checkpoint = Checkpoint(state, config, int(step) if step.isdecimal() else 0, {})
    if _DIGEST in noted and noted[_DIGEST] != _digest(checkpoint, tokenizer):
        raise NanochatError(
            f"{folder}: weights, config or tokenizer are not those that were exported ({_DIGEST} in"
            f" the metadata of {WEIGHTS}): a file is damaged or was changed; take a sound copy, or,"
            f" if the change is meant, save {WEIGHTS} again without {_DIGEST}"
        )
    return checkpoint, tokenizer


def _digest(checkpoint: Checkpoint, tokenizer: Tokenizer) -> str:
    """Return the SHA-256 (hex) of all that `import_transformers` reads."""
    content = [checkpoint.fingerprint, tokenizer.fingerprint, checkpoint.step]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _names(n_layer: int) -> dict[str, str]:
    blocks = {
        f"transformer.h.{layer}.{ours}.weight": f"model.layers.{layer}.{theirs}.weight"
        for layer in range(n_layer)
        for ours, theirs in _INSIDE.items()
    }
    return {
        "transformer.wte.weight": "model.embed_tokens.weight",
        **blocks,
        "lm_head.weight": "lm_head.weight",
    }


def _config(config: GPTConfig, named: Mapping[str, Tensor]) -> dict[str, Any]:
    kinds = {tensor.dtype for tensor in named.values()}
    widest = next(iter(kinds)) if len(kinds) == 1 else torch.float32
    return {
        "architectures": [_ARCHITECTURE],
        "model_type": "nanochat",
        **{theirs: getattr(config, ours) for theirs, ours in _SHAPE.items()},
        "intermediate_size": 4 * config.n_embd,
        **_FIXED,
        "rope_parameters": {"rope_type": "default", "rope_theta": float(ROPE_BASE)},
        "initializer_range": 0.02,
        "use_cache": True,
        # The dtype in which transformers loads the model; the file may hold narrower ones too.
        "dtype": str(widest).removeprefix("torch."),
    }


def _write(path: Path, content: Mapping[str, Any]) -> Path:
    text = json.dumps(content, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _read(path: Path) -> dict[str, Any]:
    refuse_pointer(path)
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise NanochatError(f"no {path.name} in {path.parent}") from error
    except (ValueError, RecursionError) as error:
        raise NanochatError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise NanochatError(f"{path} holds no object")
    return content


def _shape(given: Mapping[str, Any]) -> GPTConfig:
    """Return the config; raise on the first difference from nanochat's computation."""
    kind = given.get("model_type"), given.get("architectures")
    if kind != ("nanochat", [_ARCHITECTURE]):
        raise NanochatError(f"config.json is of {kind[0]} {kind[1]}; only {_ARCHITECTURE} is read")
    missing = [name for name in _SHAPE if name not in given]
    if missing:
        raise NanochatError(f"config.json has no {missing[0]}")
    shape = {ours: given[theirs] for theirs, ours in _SHAPE.items()}
    if shape["n_kv_head"] is None:
        shape["n_kv_head"] = shape["n_head"]
    config = GPTConfig(**shape)
    for theirs, ours in _SHAPE.items():
        check_limit(ours, f"config.json: {theirs}", shape[ours])
    derived = {"intermediate_size": 4 * config.n_embd, "head_dim": config.head_dim}
    rope = {"rope_theta": float(ROPE_BASE), "rope_scaling": None}
    _compare(given, {**_FIXED, **derived, **rope})
    turned = given.get("rope_parameters") or {}
    _compare(turned, {**dict.fromkeys(turned), "rope_type": "default", **rope})
    return config


def _compare(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if given.get(name, value) != value:
            raise NanochatError(f"config.json: {name} is {given[name]}; this model has {value}")


def _weights(folder: Path, config: GPTConfig) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors by our names, and the metadata of their files."""
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise missing_library("nanochat import", "safetensors", "export") from error

    state: dict[str, Tensor] = {}
    noted: dict[str, str] = {}
    for path in _files(folder):
        refuse_pointer(path, path.name)
        try:
            with panics_as_errors(str), safe_open(path, framework="pt") as file:
                noted |= file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, NanochatError, OSError) as error:
            raise NanochatError(f"{path.name} cannot be read: {first_line(error)}") from error
        if twice := sorted(state.keys() & tensors):
            raise NanochatError(f"{path.name} holds {twice[0]}, as another file does")
        state |= tensors
    ours = {theirs: name for name, theirs in _names(config.n_layer).items()}
    bare = unwrapped(Path(WEIGHTS), state)
    renamed = {ours.get(name, name): tensor for name, tensor in bare.items()}
    check_state(Path(WEIGHTS), config, renamed)
    return renamed, noted


def _files(folder: Path) -> list[Path]:
    """Return the files with the weights: one, or those that the index names."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise NanochatError(f"no {WEIGHTS} or {INDEX}; weights in other files are not read")
    names = _read(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise NanochatError(f"{INDEX} has no weight_map")
    wanted = sorted({str(name) for name in names.values()})
    for name in wanted:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise NanochatError(
                f"{INDEX} names {quoted(name)}, which is no safetensors file beside it"
            )
    return [folder / name for name in wanted]
