"""Settings of a single fine-tune beside its recipe, and the help texts of both.

Names and defaults are those of fractal-llm's fine-tune command. Importing this loads no torch.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nanochat.data.source import DataSource
from nanochat.errors import NanochatError, quoted, unknown_name
from nanochat.files.wandb_rules import LONGEST_TAG, NOT_IN_PROJECTS, name_fault
from nanochat.sources.load import ModelSource
from nanochat.train.recipe import Recipe
from nanochat.train.setting_types import coerce

NO_RUN = "dummy"
"""Name of a run that is not logged to W&B."""
ARTIFACT_FORM = "NAME-ft-artifact"
"""Name of the artifact of a saved model in W&B; NAME is that of the run."""

STAGES = ("base", "mid", "sft", "rl")
DEBUG_TOKENS = 2000

SWEEP_SETTINGS = (
    "grid",
    "resolution",
    "lr_min",
    "lr_max",
    "tokens_min",
    "tokens_max",
    "checkpoint_every",
)


@dataclass(frozen=True)
class Settings:
    """Settings of a single fine-tune, apart from its recipe. `SETTING_HELP` explains each field.

    Raises
    ------
    NanochatError
        On construction, where a value is out of its range.
    """

    model: str = ""
    model_step: int = -1
    model_tag: str = ""
    source_stage: str = ""
    tokenizer_artifact: str = ""
    data: str = ""
    dataset_revision: str = ""
    split: str = "train"
    val_data: str = ""
    val_share: float = 0.0
    limit: int = -1
    skip_bad_rows: int = 0
    max_seq_len: int = 1024
    eval_every: int = 200
    eval_batches: int = 4
    log_every: int = 1
    trainable_window_steps: int = 20
    trainable_loss_ratio_threshold: float = 1.0
    visualize: bool = False
    save_artifacts: bool = False
    debug: bool = False
    run: str = NO_RUN
    wandb_tags: str = "finetune"
    grid_sweep_id: str = ""
    grid_i: int = 0
    grid_j: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = coerce(field.name, getattr(self, field.name), _TYPES[field.name])
            object.__setattr__(self, field.name, value)
        for name, low in _AT_LEAST.items():
            if getattr(self, name) < low:
                raise NanochatError(
                    f"{name} must be at least {low}, not {quoted(getattr(self, name))}"
                )
        for name in ("model_step", "limit"):
            if getattr(self, name) != -1 and getattr(self, name) < _LOWEST[name]:
                raise NanochatError(
                    f"{name} must be at least {_LOWEST[name]}, or -1 for none given, not "
                    f"{getattr(self, name)}"
                )
        for name, allowed in (("source_stage", ("", *STAGES)), ("device", _DEVICES)):
            if getattr(self, name) not in allowed:
                raise unknown_name(name, getattr(self, name), filter(None, allowed))
        tags = [("wandb_tags", tag) for tag in self.wandb_tags.split(",")]
        for origin, tag in (*tags, ("grid_sweep_id", self.grid_sweep_id)):
            if fault := name_fault(f"the tag {origin}", tag.strip(), longest=LONGEST_TAG):
                raise NanochatError(fault)
        if not self.trainable_loss_ratio_threshold > 0:
            raise NanochatError(
                "trainable_loss_ratio_threshold must be above 0, not "
                f"{self.trainable_loss_ratio_threshold!r}"
            )
        if not 0 <= self.val_share < 1:
            raise NanochatError(
                f"val_share must be at least 0 and below 1, not"
                f" {quoted(self.val_share)}; 0.05 holds out "
                "one conversation in twenty"
            )
        if self.val_share and self.val_data:
            raise NanochatError(
                f"val_share {self.val_share:g} and val_data {self.val_data} both name the "
                "conversations for validation; give one of them"
            )
        if not self.model:
            raise NanochatError(
                "which model? --model FOLDER, --model hf:owner/name, or --preset tiny"
            )
        if self.dataset_revision and not self.data_source.startswith("hf:"):
            raise NanochatError(
                f"dataset_revision {quoted(self.dataset_revision)} needs data from the hub "
                f"(hf:owner/name), not {quoted(self.data or 'stdlib_qa')}"
            )
        if re.search(r"[^\w.-]", self.run, re.ASCII) or not self.run:
            raise NanochatError(
                f"run must be letters, digits, '.', '_' or '-', not {quoted(self.run)}"
            )
        # Without an artifact, too: a run that --save-artifacts would end is better renamed before.
        if fault := name_fault("run (--run or WANDB_RUN)", self.run, form=ARTIFACT_FORM):
            raise NanochatError(fault)

    @classmethod
    def of_sources(cls, model: ModelSource, data: DataSource, **others: Any) -> Self:
        """Make settings from a model source, a data source, and other fields by name."""
        return cls(
            model=model.name,
            model_step=-1 if model.step is None else model.step,
            model_tag=model.tag or "",
            source_stage=model.stage or "",
            tokenizer_artifact=model.tokenizer or "",
            data=data.name,
            split=data.split,
            limit=-1 if data.limit is None else data.limit,
            max_seq_len=data.max_seq_len,
            skip_bad_rows=data.skip_bad_rows,
            **others,
        )

    @property
    def model_source(self) -> ModelSource:
        """Return the source of the model that is fine-tuned."""
        return ModelSource(
            self.model,
            step=None if self.model_step < 0 else self.model_step,
            tag=self.model_tag or None,
            stage=self.source_stage or None,
            tokenizer=self.tokenizer_artifact or None,
        )

    @property
    def training_data(self) -> DataSource:
        """Return the source of the conversations to train on."""
        limit = None if self.limit < 0 else self.limit
        return DataSource(self.data_source, self.split, limit, self.max_seq_len, self.skip_bad_rows)

    @property
    def data_source(self) -> str:
        """Return the data source of the conversations, with its revision.

        Without `data`, a preset is fine-tuned on the shipped text, any other model on the data set
        of fractal-llm.
        """
        shipped = self.model.startswith("preset:")
        data = self.data or ("stdlib_qa" if shipped else "hf:morgan/docvqa-nanochat")
        return f"{data}@{self.dataset_revision}" if self.dataset_revision else data

    @property
    def run_name(self) -> str:
        """Return the name of the run in its files, and in W&B where it is logged."""
        name = "debug-finetune" if self.debug else self.run
        return name if name == NO_RUN else f"{name}-ft"

    @property
    def watched(self) -> bool:
        """Return True if conversations for validation or for samples are needed."""
        evaluated = self.eval_every > 0 and self.eval_batches > 0
        return evaluated or self.visualize or self.logged

    @property
    def logged(self) -> bool:
        """Return True if the run is logged to W&B."""
        return self.run != NO_RUN

    @property
    def saved(self) -> bool:
        """Return True if the fine-tuned model is saved."""
        return self.save_artifacts or self.debug

    def to_dict(self) -> dict[str, Any]:
        """Return every setting as a plain JSON type."""
        return dataclasses.asdict(self)


_TYPES: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Settings)}
_DEVICES = ("auto", "cpu", "cuda")
_LOWEST = {"model_step": 0, "limit": 1}
_AT_LEAST = {
    "skip_bad_rows": 0,
    "max_seq_len": 2,
    "eval_every": 0,
    "eval_batches": 0,
    "log_every": 1,
    "trainable_window_steps": 1,
    "grid_i": 0,
    "grid_j": 0,
}


def parse_settings(
    given: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> tuple[Settings, Recipe]:
    """Parse the settings and the recipe of a command line; other fields keep their defaults.

    Parameters
    ----------
    given
        Names with underscores or dashes, values of either kind of number, or text.
    environment
        Variables; those in `VARIABLES` replace settings that `given` lacks.

    Raises
    ------
    NanochatError
        For an unknown name, one that belongs to a sweep, or a bad value.
    """
    own: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    for key, value in given.items():
        name = key.replace("-", "_")
        if name in SWEEP_SETTINGS:
            raise NanochatError(
                f"{name} is a setting of a grid of fine-tunes, which is a sweep: "
                "fractal-ray run sweeps/lr_tokens.yaml --engine local"
            )
        name, value = _from_alias(name, value)
        place = own if name in _TYPES else recipe
        if name not in SETTING_HELP and name not in RECIPE_HELP:
            raise unknown_name("setting", key, [*SETTING_HELP, *RECIPE_HELP, *_ALIASES])
        if name in place:
            raise NanochatError(f"{name} is given twice (once as {key})")
        place[name] = value
    for variable, alias in VARIABLES.items():
        name, value = _from_alias(alias, (environment or {}).get(variable, ""))
        # A revision from the environment belongs to its data set, not to one of `given`.
        foreign = variable == "DATASET_REVISION" and "data" in own
        if (environment or {}).get(variable) and name not in own and not foreign:
            own[name] = _checked(variable, name, value)
    settings = Settings(**own)
    project = (environment or {}).get("WANDB_PROJECT", "")
    fault = name_fault("WANDB_PROJECT", project, forbidden=NOT_IN_PROJECTS)
    if settings.logged and fault:
        raise NanochatError(fault)
    if settings.debug:
        recipe.setdefault("num_tokens", DEBUG_TOKENS)
    return settings, Recipe.from_mapping(recipe)


def _checked(variable: str, name: str, value: str) -> Any:
    try:
        return coerce(name, value, _TYPES[name])
    except NanochatError as error:
        raise NanochatError(f"{error} (from the environment: {variable})") from error


def _from_alias(name: str, value: Any) -> tuple[str, Any]:
    if name in _ALIASES:
        name, scheme = _ALIASES[name]
        value = value if str(value).startswith(scheme) else f"{scheme}{value}"
    return name, value


# Other names, and the scheme that their values lack.
_ALIASES = {
    "preset": ("model", "preset:"),
    "model_id": ("model", ""),
    "step": ("model_step", ""),
    "dataset_id": ("data", "hf:"),
    "trainable": ("trainable_param_groups", ""),
}

VARIABLES = {
    "MODEL_ARTIFACT": "model",
    "TOKENIZER_ARTIFACT": "tokenizer_artifact",
    "DATASET_REVISION": "dataset_revision",  # before DATASET_ID, which it belongs to
    "DATASET_ID": "dataset_id",
    "MAX_SEQ_LEN": "max_seq_len",
    "WANDB_RUN": "run",
}
"""Environment variables, and the settings they stand in for."""

SETTING_HELP = {
    "model": "Folder, preset:NAME, hf:owner/name[@revision], or wandb:entity/project/name:version.",
    "model_step": "Which of several checkpoints; the newest if not given.",
    "model_tag": "Which of several models in <stage>_checkpoints, e.g. d20; the deepest if not "
    "given.",
    "source_stage": "Which stage's checkpoints, where there are several: base, mid, sft, rl; sft "
    "if not given.",
    "tokenizer_artifact": "Where the tokenizer is, if not with the model: as --model.",
    "data": "Conversations: stdlib_qa (shipped), a .jsonl or .parquet file, a folder, or "
    "hf:owner/name. Not given: stdlib_qa for a preset, else hf:morgan/docvqa-nanochat.",
    "dataset_revision": "Commit of a data set on the hub.",
    "split": "Which part of the data.",
    "val_data": "Conversations for validation. Not given: the data's validation split; one file "
    "has none.",
    "val_share": "Share of the data held out for validation instead, by the hash of each row.",
    "limit": "Read this many conversations at most.",
    "skip_bad_rows": "Leave out this many bad rows of a split at most; the next is an error.",
    "max_seq_len": "Tokens kept of a conversation.",
    "eval_every": "Steps between two validations; 0 for none.",
    "eval_batches": "Batches in a validation; 0 for none.",
    "log_every": "Steps between two lines.",
    "trainable_window_steps": "Last losses that are averaged to tell whether the run trained.",
    "trainable_loss_ratio_threshold": "It did if that mean over the first loss is below this.",
    "visualize": "Show what the model answers to validation questions before and after.",
    "save_artifacts": "Save the fine-tuned model in the output folder (and in W&B with --run).",
    "debug": f"A quick try: {DEBUG_TOKENS} tokens unless --num-tokens is given, the model saved.",
    "run": f"Name of a run in W&B; {NO_RUN!r} logs nothing there.",
    "wandb_tags": "Tags of that run, with commas.",
    "grid_sweep_id": "Tag that the runs of one sweep share; the time if not given.",
    "grid_i": "Label of a point, kept in the result.",
    "grid_j": "The other one.",
    "device": "auto, cpu or cuda.",
}

RECIPE_HELP = {
    "dtype": "Arithmetic: bfloat16, float16 (with scaled loss) or float32.",
    "device_batch_size": "Examples in a batch.",
    "target_examples_per_step": "Examples in a step, a multiple of the batch; 0 for one batch.",
    "learning_rate": "Base rate, from which the three below derive where they are -1.",
    "matrix_lr": "Rate of the block matrices (Muon).",
    "attention_lr": "Rate of the attention matrices; -1 for matrix_lr.",
    "mlp_lr": "Rate of the feed-forward matrices; -1 for matrix_lr.",
    "embedding_lr": "Rate of the token embedding (AdamW), nominal at width 768.",
    "unembedding_lr": "Rate of the output head (AdamW), nominal at width 768.",
    "embedding_lr_mult": "embedding_lr over learning_rate where it derives.",
    "unembedding_lr_mult": "unembedding_lr over learning_rate where it derives.",
    "trainable_param_groups": "Groups to train, with commas: embedding, matrix, unembedding, or "
    "all, none.",
    "weight_decay": "Of the AdamW groups.",
    "init_lr_frac": "Scales all rates.",
    "warmup_frac": "Share of the steps that warm up.",
    "final_lr_frac": "Share of the rates left at the end of the cosine.",
    "num_tokens": "Budget of supervised tokens, which decides the number of steps.",
    "num_iterations": "Number of steps in place of the budget; -1 for the budget.",
    "seed": "Seeds the order of the examples with --shuffle; nothing else is random.",
    "deterministic": "The same bits every time.",
    "shuffle": "Another order of the examples in each epoch.",
    "gradient_checkpointing": "Less memory, about a third more time, the same numbers.",
}
