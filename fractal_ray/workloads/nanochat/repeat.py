"""The repeated run of one point of the workload `nanochat`, which keeps its model."""

from fractal_ray.errors import SweepError
from fractal_ray.workloads.base import Repeat, RepeatRequest
from fractal_ray.workloads.nanochat.settings import NanochatSettings
from fractal_ray.workloads.nanochat.workload import fingerprint_of
from nanochat.finetune_run.inputs import load_run_inputs
from nanochat.finetune_run.run import make_folder, run_finetune
from nanochat.finetune_run.settings import Settings


def run_again(section: NanochatSettings, request: RepeatRequest) -> Repeat:
    """Fine-tune at one point, as the sweep did, and write the result and the model.

    Raises
    ------
    SweepError
        If model, data or arithmetic have changed since the dataset was written.
    """
    recipe = section.fixed_recipe.with_values(dict(request.values))
    settings = Settings.of_sources(
        section.to_source(),
        section.data.to_source(),
        eval_every=0,
        save_artifacts=True,
        trainable_window_steps=request.criterion.window,
        trainable_loss_ratio_threshold=request.criterion.threshold,
        device=request.device,
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
    return Repeat(done.fields["losses"], done.path, done.model_folder, done.later.exit_code)
