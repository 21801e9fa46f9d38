"""Target of a sweep's runs in W&B: settings of the spec, then the environment, then defaults.

The command line changes the spec (`--set tracking.wandb.project=...`), so it comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.tracking import WandbSpec

PROJECT = "fractal-ray"
TAGS = ("fractal-grid",)  # fractal-llm's (features 1.5)
_MODES = {
    "": "online",
    "online": "online",
    "run": "online",
    "offline": "offline",
    "dryrun": "offline",
    "disabled": "disabled",
}


@dataclass(frozen=True)
class Target:
    """Target of W&B runs. `entity` None is the account's own; `sampled` points get a run each."""

    project: str
    entity: str | None
    group: str
    prefix: str
    """Prefix of the names of the runs."""
    tags: tuple[str, ...]
    mode: str
    """"online" or "offline"."""
    sampled: int


def find_target(
    spec: SweepSpec, enabled: bool | None, environment: Mapping[str, str]
) -> Target | None:
    """Return the target of a sweep's runs; None for a sweep that is not tracked.

    Parameters
    ----------
    spec
        A sweep with a section `tracking.wandb` is tracked, at the place that the section names.
    enabled
        True and False override the spec; None follows it.
    environment
        Variables that supply settings which the spec leaves open (docs/tracking.md). `WANDB_MODE`
        "disabled" has the effect of False.

    Raises
    ------
    SweepError
        If `WANDB_MODE` is not a mode of W&B.
    """
    settings = spec.tracking.wandb if spec.tracking else None
    if enabled is False or (settings is None and not enabled):
        return None
    settings = settings or WandbSpec()
    mode = environment.get("WANDB_MODE", "").lower()
    if mode not in _MODES:
        allowed = ", ".join(sorted(filter(None, _MODES)))
        raise SweepError(
            f"WANDB_MODE is {mode!r}; allowed: {allowed}. To run without W&B: --no-tracking"
        )
    target_mode = settings.mode or _MODES[mode]
    if "disabled" in (_MODES[mode], target_mode):
        return None

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    tags = settings.tags
    if tags is None:
        text = first("WANDB_TAGS", "FINETUNE_WANDB_TAGS") or ""
        tags = tuple(tag.strip() for tag in text.split(",") if tag.strip()) or TAGS
    of_sweep = (spec.workload.kind, spec.axes.x.param, spec.axes.y.param)
    return Target(
        project=settings.project or first("WANDB_PROJECT") or PROJECT,
        entity=settings.entity or first("WANDB_ENTITY"),
        group=settings.group or first("WANDB_RUN_GROUP", "GRID_SWEEP_ID") or spec.name,
        prefix=first("WANDB_RUN_PREFIX", "RUN_PREFIX") or spec.name,
        tags=tuple(dict.fromkeys([*tags, *of_sweep])),
        mode=target_mode,
        sampled=settings.sampled,
    )
