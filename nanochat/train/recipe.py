"""Settings of one fine-tune. Names and defaults are those of fractal-llm's fine-tune command.

Importing this loads no torch: a plan of a million points is checked without it.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from nanochat.errors import NanochatError, quoted, unknown_name
from nanochat.train.setting_types import coerce

DERIVED = -1.0
"""Value of a group's learning rate that says: derive it from `learning_rate`."""

GROUPS = ("embedding", "matrix", "unembedding")
ADAMW = ("embedding", "unembedding")
"""Of `GROUPS`: those that AdamW trains, at rates scaled by the width of the model."""
REFERENCE_WIDTH = 768
"""Width of the model at which the rates of AdamW are nominal."""
PARTS = ("attention", "mlp")
"""Of `matrix`: what may have a rate of its own."""
DTYPES = ("bfloat16", "float16", "float32")

_GROUP_ALIASES: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in GROUPS},
    **dict.fromkeys(("all", "*"), GROUPS),
    **dict.fromkeys(("none", ""), ()),
    **dict.fromkeys(("head", "lm_head", "unembed"), ("unembedding",)),
    **dict.fromkeys(("embed", "emb", "wte"), ("embedding",)),
    **dict.fromkeys(("blocks", "trunk"), ("matrix",)),
}


@dataclass(frozen=True)
class Recipe:
    """Settings that determine a fine-tune, apart from the model and the data.

    Attributes
    ----------
    dtype
        One of "bfloat16", "float16", "float32".
        Type of the arithmetic under autocast; weights stay float32. float16 scales the loss.
    device_batch_size
        Examples in a batch, at least 1.
    target_examples_per_step
        Examples in an optimizer step, a multiple of `device_batch_size`; 0 means one batch.
    learning_rate
        Base rate, above 0. The three rates below derive from it where they are -1.
    matrix_lr, embedding_lr, unembedding_lr
        Rate of the block matrices (Muon), the token embedding and the output head (AdamW);
        above 0, or -1: `learning_rate` times 1, `embedding_lr_mult`, `unembedding_lr_mult`.
        The two AdamW rates are nominal: the optimizer multiplies them by (width / 768)^-1/2.
    attention_lr, mlp_lr
        Rates of the attention and of the feed-forward matrices in place of `matrix_lr`; above 0,
        or -1: as `matrix_lr`. They are parts of the group `matrix`, and trained with it.
    embedding_lr_mult, unembedding_lr_mult
        Above 0.
    trainable_param_groups
        Groups of `GROUPS` that are trained, sorted. Given as names or aliases, in a list or in
        one string with commas.
    weight_decay
        Decoupled decay of the AdamW groups, 0 or more. Muon has none.
    init_lr_frac
        Scales every rate, in (0, 1].
    warmup_frac, final_lr_frac
        Share of the steps that warm up, and share of the rate left at the end of the cosine;
        in [0, 1].
    num_tokens
        Budget of supervised tokens, at least 1; decides the number of steps.
    num_iterations
        Number of steps in place of the budget, at least 1; -1 means use the budget.
    seed
        Seeds the order of the examples where `shuffle` is set, 0 or more. Nothing else in a
        fine-tune is random.
    deterministic
        Only algorithms that give the same bits every time; one thread on a CPU.
    shuffle
        A new order of the examples each epoch, in place of the order they came in.
    gradient_checkpointing
        Keep no activations inside the blocks and compute them again in the backward pass: less
        memory, about a third more time, the same numbers.

    Raises
    ------
    NanochatError
        On construction, where a value is out of its range.
    """

    dtype: str = "bfloat16"
    device_batch_size: int = 8
    target_examples_per_step: int = 0
    learning_rate: float = 3e-4
    matrix_lr: float = DERIVED
    embedding_lr: float = DERIVED
    unembedding_lr: float = DERIVED
    embedding_lr_mult: float = 10.0
    unembedding_lr_mult: float = 0.2
    trainable_param_groups: tuple[str, ...] = ("matrix", "unembedding")
    weight_decay: float = 0.1
    init_lr_frac: float = 1.0
    warmup_frac: float = 0.06
    final_lr_frac: float = 0.0
    num_tokens: int = 200_000
    num_iterations: int = -1
    seed: int = 999
    deterministic: bool = True
    shuffle: bool = False
    gradient_checkpointing: bool = False
    attention_lr: float = DERIVED
    mlp_lr: float = DERIVED

    def __post_init__(self) -> None:
        for name in _TYPES:
            object.__setattr__(self, name, _coerce(name, getattr(self, name)))
        for name, (valid, allowed) in _RANGES.items():
            value = getattr(self, name)
            if not valid(value):
                raise NanochatError(f"{name} must be {allowed}, not {quoted(value)}")
        if self.target_examples_per_step % self.device_batch_size:
            raise NanochatError(
                f"target_examples_per_step must be a multiple of device_batch_size "
                f"({self.device_batch_size}), not {self.target_examples_per_step}"
            )

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> Self:
        """Make a recipe from a parsed file or command line; other fields keep their defaults.

        Parameters
        ----------
        settings
            Keys with underscores or dashes; ``trainable`` is short for
            ``trainable_param_groups``. Numbers may be of either kind, or text, as long as the
            value fits: ``5e5`` is an integer, ``1`` a fraction.

        Raises
        ------
        NanochatError
            For an unknown key, a key given twice in two spellings, or a bad value.
        """
        values: dict[str, Any] = {}
        for key, value in settings.items():
            name = str(key).replace("-", "_")
            name = "trainable_param_groups" if name == "trainable" else name
            if name not in _TYPES:
                raise unknown_name("setting", str(key), [*_TYPES, "trainable"])
            if name in values:
                raise NanochatError(f"{name} is given twice (once as {quoted(key)})")
            values[name] = value
        return cls(**values)

    @staticmethod
    def numeric_fields() -> dict[str, type]:
        """Return the name and kind (int or float) of every setting that has a numeric axis."""
        return {name: kind for name, kind in _TYPES.items() if kind in (int, float)}

    def with_values(self, values: Mapping[str, float]) -> Self:
        """Return a copy with other values, exact to the last bit.

        Raises
        ------
        NanochatError
            For a name that is no setting, or a value out of its range.
        """
        for name in values:
            if name not in _TYPES:
                raise unknown_name("setting", name, _TYPES)
        return dataclasses.replace(self, **values)

    def group_lrs(self) -> dict[str, float]:
        """Return the learning rate of each group of `GROUPS`, before width, warm-up and
        `init_lr_frac`.

        Where a part of `matrix` has its own rate, those of both `PARTS` come after.
        """
        derived = {
            "embedding": self.learning_rate * self.embedding_lr_mult,
            "matrix": self.learning_rate,
            "unembedding": self.learning_rate * self.unembedding_lr_mult,
        }
        own = {group: getattr(self, f"{group}_lr") for group in (*GROUPS, *PARTS)}
        lrs = {group: own[group] if own[group] > 0 else derived[group] for group in GROUPS}
        if any(own[part] > 0 for part in PARTS):
            lrs |= {part: own[part] if own[part] > 0 else lrs["matrix"] for part in PARTS}
        return lrs

    def effective_lrs(self, width: int) -> dict[str, float]:
        """Return `group_lrs` with the AdamW rates scaled by the width of the model.

        `init_lr_frac` and the schedule are not applied.
        """
        scale = (width / REFERENCE_WIDTH) ** -0.5
        return {g: lr * scale if g in ADAMW else lr for g, lr in self.group_lrs().items()}

    @property
    def accumulation(self) -> int:
        """Return the number of batches in an optimizer step, at least 1."""
        return max(1, self.target_examples_per_step // self.device_batch_size)

    def warmup_steps(self, total_steps: int) -> int:
        """Return the number of steps that warm up, at least 1."""
        return max(1, int(total_steps * self.warmup_frac))

    def used_settings(self) -> dict[str, float]:
        """Return the numbers that a run uses; with equal ones, runs record equal losses.

        The loss of a step is recorded before its update, so the last update changes no loss. Left
        out are the rates of frozen groups, rates that others replace, the seed without `shuffle`,
        and rates, decay and schedule where they reach no update that changes a loss.
        """
        steps = self.num_iterations if self.num_iterations > 0 else None
        used: dict[str, float] = {
            "device_batch_size": self.device_batch_size,
            "accumulation": self.accumulation,
        }
        used |= {"num_tokens": self.num_tokens} if steps is None else {"num_iterations": steps}
        if self.shuffle:
            used["seed"] = self.seed
        trained = set(self.trainable_param_groups)
        if steps == 1 or not trained:
            return used
        lrs = self.group_lrs()
        if "matrix" in trained and lrs.keys() >= set(PARTS):
            trained = trained - {"matrix"} | set(PARTS)
        rates = {f"{g}_lr": lrs[g] * self.init_lr_frac for g in sorted(trained)}
        if trained & {"embedding", "unembedding"}:
            rates["weight_decay"] = self.weight_decay
        warmup = self.warmup_frac if steps is None else self.warmup_steps(steps)
        # The first step after the warm-up has the full rate.
        if (self.warmup_frac < 1) if steps is None else (steps - 2 > warmup):
            rates["final_lr_frac"] = self.final_lr_frac
        return {**used, **rates, "warmup": warmup}

    def batch_key(self) -> tuple[int, int | None]:
        """Return the fields that determine the batches: recipes with equal keys can share them.

        Returns
        -------
        tuple
            Batch size, and the seed where the examples are shuffled.
        """
        return self.device_batch_size, self.seed if self.shuffle else None

    def stack_key(self) -> tuple[Any, ...]:
        """Return the fields that must be equal in one stack: all but rates and decay."""
        rest = {name: getattr(self, name) for name in _TYPES if name not in _OF_A_COPY}
        return (*rest.values(), *self.batch_key())

    def to_dict(self) -> dict[str, Any]:
        """Return the settings in canonical form as plain JSON types; equal recipes give equal
        dicts.

        `attention_lr` and `mlp_lr` are left out where they are not given: points are named by this,
        and names that were made before there were such settings stay as they are.
        """
        values = {name: getattr(self, name) for name in _TYPES}
        for part in PARTS:
            if values[f"{part}_lr"] == DERIVED:
                del values[f"{part}_lr"]
        return {**values, "trainable_param_groups": list(self.trainable_param_groups)}


_TYPES: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Recipe)}


_OF_A_COPY = {
    *("learning_rate", "matrix_lr", "embedding_lr", "unembedding_lr", "attention_lr", "mlp_lr"),
    *("embedding_lr_mult", "unembedding_lr_mult", "weight_decay"),
    *("init_lr_frac", "warmup_frac", "final_lr_frac"),
    "seed",  # `batch_key` has it where examples are shuffled
}


def _at_least(low: int | float) -> tuple[Any, str]:
    return lambda value: value >= low, f"at least {low}"


_FRACTION = (lambda value: 0 <= value <= 1, "between 0 and 1")
_POSITIVE = (lambda value: value > 0, "above 0")
_RATE = (lambda value: value > 0 or value == DERIVED, "above 0, or -1 to derive it")

_RANGES: dict[str, tuple[Any, str]] = {
    "dtype": (lambda value: value in DTYPES, f"one of {', '.join(DTYPES)}"),
    "device_batch_size": _at_least(1),
    "target_examples_per_step": _at_least(0),
    "learning_rate": _POSITIVE,
    "matrix_lr": _RATE,
    "embedding_lr": _RATE,
    "unembedding_lr": _RATE,
    "attention_lr": _RATE,
    "mlp_lr": _RATE,
    "embedding_lr_mult": _POSITIVE,
    "unembedding_lr_mult": _POSITIVE,
    "weight_decay": _at_least(0.0),
    "init_lr_frac": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "warmup_frac": _FRACTION,
    "final_lr_frac": _FRACTION,
    "num_tokens": _at_least(1),
    "num_iterations": (lambda value: value >= 1 or value == -1, "at least 1, or -1 for the budget"),
    "seed": _at_least(0),
}


def _coerce(name: str, value: Any) -> Any:
    kind = _TYPES[name]
    return coerce(name, value, kind) if kind in (int, float, bool, str) else _groups(value)


def _groups(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable) or not all(isinstance(name, str) for name in value):
        raise NanochatError(f"trainable_param_groups must be names of groups, not {quoted(value)}")
    chosen: set[str] = set()
    for name in value:
        key = name.strip().lower()
        if key not in _GROUP_ALIASES:
            raise unknown_name("parameter group", name.strip(), filter(None, _GROUP_ALIASES))
        chosen.update(_GROUP_ALIASES[key])
    return tuple(sorted(chosen))
