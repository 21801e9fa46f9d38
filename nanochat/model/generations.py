"""Generation of nanochat of a checkpoint, recognised by its keys and shapes.

No file records the rotary base, the scale of queries and keys, or the soft cap: they follow from
the generation. `model/gpt.py` is generation 0. A file of a later one must be refused: with its
extra tensors left out it would load, and every number would be wrong.

==  =========================  ==================================================================
 0  October 2025 to 10 Jan.    none of the keys below
 1  11 to 15 January 2026      ``resid_lambdas`` [L], ``x0_lambdas`` [L]
 2  16 January to 8 March      also ``value_embeds.*``, ``ve_gate`` [key/value heads, 32]
 3  9 to 13 March              the gate is [key/value heads, 12]
 4  from 14 March              also ``smear_gate`` [1, 24], ``smear_lambda``, ``backout_lambda``
==  =========================  ==================================================================
"""

from collections.abc import Mapping

from nanochat.errors import quoted

_MIXING = ("resid_lambdas", "x0_lambdas")
_GATE = ("ve_gate",)
_VALUES = ("value_embeds", *_GATE)
_SMEAR = ("smear_gate", "smear_lambda", "backout_lambda")
_GATE_CHANNELS: dict[tuple[int, ...], int] = {(32,): 2, (12,): 3}  # shape to generation

_DATES = {
    1: "11 to 15 January 2026",
    2: "16 January to 8 March 2026",
    3: "9 to 13 March 2026",
    4: "from 14 March 2026",
}
_SINCE_1 = "residual scalars, sliding windows"
_SINCE_3 = f"{_SINCE_1}, value embeddings (gate 3σ of 12 channels), rope base 100,000"
_NEEDS = {
    1: _SINCE_1,
    # From 2 to 8 March the cap was 20, with equal keys.
    2: f"{_SINCE_1}, value embeddings (gate 2σ of 32 channels), a soft cap of 15 or 20 (not told)",
    3: f"{_SINCE_3}, queries and keys times 1.15",
    4: f"{_SINCE_3}, queries and keys times 1.2, smear, backout",
}
_ONLY = "only generation 0 is read"


def later_tensors(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Describe the tensor that needs a later generation of nanochat, or return None.

    Parameters
    ----------
    shapes
        Shape of every tensor; keys without ``_orig_mod.``.

    Returns
    -------
    str or None
        A clause that starts with the key at fault; None where no key is of a later generation,
        which does not mean that the weights fit generation 0.
    """
    if keys := _having(shapes, _SMEAR):
        return _refusal(keys[0], 4)
    if keys := _having(shapes, _VALUES):
        channels = {shapes[key][-1:] for key in _having(shapes, _GATE)}
        return _refusal(keys[0], _GATE_CHANNELS.get(channels.pop()) if len(channels) == 1 else None)
    if keys := _having(shapes, _MIXING):
        return _refusal(keys[0], 1)
    return None


def later_windows(pattern: str) -> str | None:
    """Describe why a meta file's ``window_pattern`` needs a later generation, or return None.

    Parameters
    ----------
    pattern
        ``L`` for a layer that sees everything, ``S`` for one that sees a window. All ``L`` is
        generation 0, which nanochat itself says when it takes up an old file.
    """
    if set(pattern.upper()) == {"L"}:
        return None
    return (
        f"window_pattern {quoted(pattern)} needs sliding windows (generation 1 of nanochat, "
        f"{_DATES[1]}, or a later one); {_ONLY}"
    )


def _having(shapes: Mapping[str, tuple[int, ...]], names: tuple[str, ...]) -> list[str]:
    """Return the keys that have one of the names between their dots."""
    return [key for key in shapes if not set(names).isdisjoint(key.split("."))]


def _refusal(key: str, generation: int | None) -> str:
    if generation is None:
        return (
            f"{key} belongs to a later generation of nanochat that is not known here (value "
            f"embeddings without gates of 32 or of 12 channels); {_ONLY}"
        )
    return (
        f"{key} belongs to generation {generation} of nanochat ({_DATES[generation]}), which "
        f"needs {_NEEDS[generation]}; {_ONLY}"
    )
