"""Log of a fine-tune while it runs: lines for the user, and values for a tracker."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from nanochat.errors import LaterSteps
from nanochat.finetune_run.inputs import RunInputs
from nanochat.finetune_run.samples import Sample, answer
from nanochat.finetune_run.settings import Settings
from nanochat.finetune_run.tracking import Tracker
from nanochat.finetune_run.validation import diagnose, mean_loss
from nanochat.model.torch_settings import isolated
from nanochat.train.finetune import StepReport, planned_steps
from nanochat.train.first_loss import check_first_loss
from nanochat.train.optim.groups import group_members
from nanochat.train.recipe import PARTS, Recipe

GB = 1e9


@dataclass(frozen=True)
class Answers:
    """Answers to the sample questions before and after the fine-tune, in the samples' order."""

    samples: list[Sample]
    before: list[str]
    after: list[str]


class RunLog:
    """Log of one fine-tune; never changes the model.

    Parameters
    ----------
    say
        Called with each line.
    later
        Steps after the training, to which the validation after the last step belongs.

    Attributes
    ----------
    losses
        Finite losses so far.
    tokens_seen
        Supervised tokens so far.
    lrs
        Full rate of each group as the optimizer has it; 0 where it is not trained.
    """

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        inputs: RunInputs,
        tracker: Tracker,
        say: Callable[[str], None],
        later: LaterSteps,
    ) -> None:
        self.losses: list[float] = []
        self.tokens_seen = 0
        full = recipe.effective_lrs(inputs.model.config.n_embd)
        trained = set(recipe.trainable_param_groups)
        trained |= set(PARTS) if "matrix" in trained else set()
        self.lrs = {group: lr if group in trained else 0.0 for group, lr in full.items()}
        split = PARTS[0] in self.lrs  # then no matrix uses the rate of the whole group
        self._groups = [group for group in self.lrs if group != "matrix" or not split]
        self._settings, self._recipe, self._inputs = settings, recipe, inputs
        self._tracker, self._say, self._later = tracker, say, later
        self._before: list[str] = []
        self._last = 0  # number of the last logged step
        self._device = inputs.model.cos.device

    def before(self) -> None:
        """Log the trained parameters and the first batch, and answer the samples.

        Raises
        ------
        NanochatError
            If the loss of the first batch is not finite.
        """
        members = group_members(self._inputs.model)
        counts = {group: sum(p.numel() for p in members[group]) for group in self._groups}
        groups = (
            f"{group} {counts[group]:,} " + (self._rate(group) if self.lrs[group] else "frozen")
            for group in self._groups
        )
        self._say(f"parameters: {', '.join(groups)}")
        steps = planned_steps(self._inputs.batches, self._recipe)
        if 2 * (window := self._settings.trainable_window_steps) > steps:
            self._say(
                f"label: the mean of the last {min(window, steps)} losses is that of more than half"
                f" of the {steps} steps (trainable_window_steps {window})"
            )
        with isolated(self._device, self._recipe.deterministic):
            diagnostics = diagnose(self._inputs.model, self._inputs.batches, self._recipe)
            self._before = self._answers()
        self._say(
            f"first batch: loss {diagnostics.initial_loss:.4f}, "
            f"{100 * diagnostics.supervised_share:.1f} % of the tokens supervised, "
            f"{100 * diagnostics.padded_share:.1f} % of the positions padding"
        )
        check_first_loss(diagnostics.initial_loss, self._settings.model, self._recipe.dtype)
        values = {f"diagnostic/{name}": value for name, value in asdict(diagnostics).items()}
        values |= {f"model/params_{group}": count for group, count in counts.items()}
        self._tracker.summary(values)
        if self._before:
            self._tracker.samples(self._rows(0, self._before), 0, last=False)

    def _rate(self, group: str) -> str:
        """Return the nominal rate of a group, and the rate of the optimizer if it differs."""
        nominal, effective = self._recipe.group_lrs()[group], self.lrs[group]
        both = f" (effective {effective:.3g})" if effective != nominal else ""
        return f"at {nominal:.3g}{both}"

    def step(self, report: StepReport) -> None:
        """Log a step; `nanochat.train.finetune.finetune` calls this after each step."""
        finite = math.isfinite(report.loss)
        self.losses += [report.loss] if finite else []
        self.tokens_seen = report.tokens_seen
        self._last = number = report.step + 1
        last = number == report.planned_steps or not finite
        lrs = {group: self.lrs[group] * self._recipe.init_lr_frac for group in self._groups}
        lrs = {group: lr * report.factor for group, lr in lrs.items()}
        if number % self._settings.log_every == 0 or last:
            rates = " ".join(f"{group} {lr:.3g}" for group, lr in lrs.items())
            self._say(
                f"step {number}/{report.planned_steps} loss {report.loss:.6f} lr {rates} "
                f"tokens {report.tokens_seen}"
            )
        values = {
            "train/loss": report.loss,
            "train/lr_mult": report.factor,
            "train/lr": self._recipe.learning_rate * self._recipe.init_lr_frac * report.factor,
            **{f"train/lr_{group}": lr for group, lr in lrs.items()},
            "train/tokens_seen": report.tokens_seen,
        }
        interval = self._settings.eval_every
        if finite and interval and (number % interval == 0 or last):
            total = report.planned_steps
            if last:  # the training is over, and must not be lost if this fails
                action = "measure the last validation loss"
                values |= self._later.run(action, self._validate, number, total) or {}
            else:
                values |= self._validate(number, total)
        self._tracker.log(values, number)

    def after(self) -> Answers | None:
        """Log peak GPU memory and answer the samples again; returns None without samples."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device) / GB
            reserved = torch.cuda.max_memory_reserved(self._device) / GB
            self._say(f"GPU memory: {peak:.2f} GB allocated, {reserved:.2f} GB reserved at most")
            self._tracker.summary(
                {"memory/max_allocated_gb": peak, "memory/max_reserved_gb": reserved}
            )
        if not self._inputs.samples:
            return None
        with isolated(self._device, self._recipe.deterministic):
            after = self._answers()
        steps = self._last
        self._tracker.samples(self._rows(steps, after), steps, last=True)
        return Answers(self._inputs.samples, self._before, after)

    def _validate(self, number: int, total: int) -> dict[str, float]:
        validation = self._inputs.validation
        if validation is None:
            return {}
        count = min(self._settings.eval_batches, validation.per_epoch)
        loss = mean_loss(self._inputs.model, validation, count, self._recipe)
        self._say(f"step {number}/{total} validation loss {loss:.6f} ({count} batches)")
        return {"val/loss": loss, "val/batches": count}

    def _answers(self) -> list[str]:
        inputs = self._inputs
        return answer(inputs.model, inputs.samples, inputs.tokenizer, self._recipe)

    def _rows(self, step: int, generated: list[str]) -> list[list[object]]:
        pairs = zip(self._inputs.samples, generated, strict=True)
        return [
            [step, index, sample.question, text, sample.expected]
            for index, (sample, text) in enumerate(pairs)
        ]
