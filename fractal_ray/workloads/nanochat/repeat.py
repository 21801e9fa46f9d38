"""The repeated run of one point of the workload `nanochat`, which keeps its model."""

import math

from fractal_ray.errors import SweepError
from fractal_ray.workloads.base import Repeat, RepeatRequest
from fractal_ray.workloads.nanochat.settings import NanochatSettings
from fractal_ray.workloads.nanochat.validation import load_data, validation_batches
from fractal_ray.workloads.nanochat.workload import fingerprint_of
from nanochat.finetune_run.inputs import RunInputs, load_run_inputs
from nanochat.finetune_run.run import make_folder, run_finetune
from nanochat.finetune_run.settings import Settings
from nanochat.model.torch_settings import isolated
from nanochat.train.forward_loss import mean_losses
from nanochat.train.recipe import Recipe


def run_again(section: NanochatSettings, request: RepeatRequest) -> Repeat:
    """Fine-tune at one point, as the sweep did, and write the result and the model.

    Raises
    ------
    SweepError
        If model, data or arithmetic have changed since the dataset was written.
    """
    recipe = section.fixed_recipe.with_values(dict(request.values))
    validation = section.data.validation
    settings = Settings.of_sources(
        section.to_source(),
        section.data.to_source(),
        eval_every=0,
        save_artifacts=True,
        trainable_window_steps=request.criterion.window,
        trainable_loss_ratio_threshold=request.criterion.threshold,
        device=request.device,
        val_share=validation.share or 0.0 if validation else 0.0,
    )
    make_folder(request.out)
    kernels = section.chosen_kernels
    budget = section.token_budget(request.axes)
    inputs = load_run_inputs(settings, recipe, request.say, budget, kernels)
    fingerprint = fingerprint_of(inputs.fingerprints)
    if fingerprint != request.fingerprint:
        raise SweepError(
            "the model, the data or the arithmetic of this version differ from those of the"
            f" dataset: fingerprint {fingerprint} here, {request.fingerprint} in the dataset"
        )
    done = run_finetune(settings, recipe, inputs, request.out, request.say, kernels)
    files = (done.path, done.model_folder, done.later.exit_code)
    val_loss = math.nan
    if validation is not None and done.fields["diverged_step"] is None:
        val_loss = _val_loss(section, recipe, inputs, budget)
    return Repeat(done.fields["losses"], *files, val_loss)


def _val_loss(
    section: NanochatSettings, recipe: Recipe, inputs: RunInputs, budget: int | None
) -> float:
    """Compute the loss of the validation batches from the weights after the run."""
    import torch

    model, size = inputs.model, section.fixed_recipe.device_batch_size
    data = load_data(section.data, inputs.tokenizer, budget, size, model.config.reach)
    assert data.validation is not None
    pad_id = inputs.tokenizer.special["<|assistant_end|>"]
    device = model.cos.device
    batches = validation_batches(data.validation, pad_id, size, device.type)
    with isolated(device, recipe.deterministic):
        mean = float(mean_losses(model, batches, getattr(torch, recipe.dtype)))
    return mean if math.isfinite(mean) else math.inf
