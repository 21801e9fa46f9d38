"""Where the runs of a sweep go in W&B: what the spec says, then the environment, then a default.

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
    """Where runs go. `entity` None is the account's own; `sampled` points have a run each."""

    project: str
    entity: str | None
    group: str
    prefix: str
    """How the names of the runs begin."""
    tags: tuple[str, ...]
    mode: str
    """"online" or "offline"."""
    sampled: int


def find_target(
    spec: SweepSpec, asked: bool | None, environment: Mapping[str, str]
) -> Target | None:
    """Where a sweep is tracked; None where it is not.

    Parameters
    ----------
    spec
        Its `tracking.wandb` says that it is, and where.
    asked
        True and False decide it whatever the spec says; None leaves it to the spec.
    environment
        Variables that stand in for what the spec leaves open (docs/tracking.md). `WANDB_MODE`
        "disabled" decides it like False.

    Raises
    ------
    SweepError
        Where `WANDB_MODE` is none of W&B's.
    """
    given = spec.tracking.wandb if spec.tracking else None
    if asked is False or (given is None and not asked):
        return None
    given = given or WandbSpec()
    mode = environment.get("WANDB_MODE", "").lower()
    if mode not in _MODES:
        allowed = ", ".join(sorted(filter(None, _MODES)))
        raise SweepError(
            f"WANDB_MODE is {mode!r}; allowed: {allowed}. To run without W&B: --no-tracking"
        )
    wanted = given.mode or _MODES[mode]
    if "disabled" in (_MODES[mode], wanted):
        return None

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    tags = given.tags
    if tags is None:
        text = first("WANDB_TAGS", "FINETUNE_WANDB_TAGS") or ""
        tags = tuple(tag.strip() for tag in text.split(",") if tag.strip()) or TAGS
    of_sweep = (spec.workload.kind, spec.axes.x.param, spec.axes.y.param)
    return Target(
        project=given.project or first("WANDB_PROJECT") or PROJECT,
        entity=given.entity or first("WANDB_ENTITY"),
        group=given.group or first("WANDB_RUN_GROUP", "GRID_SWEEP_ID") or spec.name,
        prefix=first("WANDB_RUN_PREFIX", "RUN_PREFIX") or spec.name,
        tags=tuple(dict.fromkeys([*tags, *of_sweep])),
        mode=wanted,
        sampled=given.sampled,
    )
