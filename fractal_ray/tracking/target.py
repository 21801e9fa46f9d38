"""Target of a sweep's runs in W&B: settings of the spec, then the environment, then defaults.

The command line changes the spec (`--set tracking.wandb.project=...`), so it comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.tracking import WandbSpec
from nanochat.errors import quoted
from nanochat.files.wandb_rules import LONGEST_TAG, NOT_IN_PROJECTS, name_fault

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
SUMMARY: Final = "summary"
"""Name of the run with the summary, after the prefix."""


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
        If `WANDB_MODE` is not a mode of W&B, or if W&B would refuse the name of the project, of
        the entity, of the group, of a run or of an axis.
    """
    settings = spec.tracking.wandb if spec.tracking else None
    if enabled is False or (settings is None and not enabled):
        return None
    settings = settings or WandbSpec()
    mode = environment.get("WANDB_MODE", "").lower()
    if mode not in _MODES:
        allowed = ", ".join(sorted(filter(None, _MODES)))
        raise SweepError(
            f"WANDB_MODE is {quoted(mode)}; allowed: {allowed}. To run without W&B: --no-tracking"
        )
    target_mode = settings.mode or _MODES[mode]
    if "disabled" in (_MODES[mode], target_mode):
        return None

    def first(*variables: str, form: str = "NAME", forbidden: str = "") -> str | None:
        """Return the name in the first of the variables that has one."""
        variable = next((name for name in variables if environment.get(name)), None)
        if variable is None:
            return None
        _refuse(name_fault(variable, environment[variable], form=form, forbidden=forbidden))
        return environment[variable]

    tags = settings.tags
    if tags is None:
        text = environment.get("WANDB_TAGS") or environment.get("FINETUNE_WANDB_TAGS") or ""
        tags = tuple(tag.strip() for tag in text.split(",") if tag.strip()) or TAGS
    for side, axis in (("x", spec.axes.x), ("y", spec.axes.y)):
        _refuse(name_fault(f"the tag axes.{side}.param", axis.param, longest=LONGEST_TAG))
    of_sweep = (spec.workload.kind, spec.axes.x.param, spec.axes.y.param)
    return Target(
        project=settings.project or first("WANDB_PROJECT", forbidden=NOT_IN_PROJECTS) or PROJECT,
        entity=settings.entity or first("WANDB_ENTITY"),
        group=settings.group or first("WANDB_RUN_GROUP", "GRID_SWEEP_ID") or spec.name,
        prefix=first("WANDB_RUN_PREFIX", "RUN_PREFIX", form=_run_form(spec, settings)) or spec.name,
        tags=tuple(dict.fromkeys([*tags, *of_sweep])),
        mode=target_mode,
        sampled=settings.sampled,
    )


def point_part(point_id: str) -> str:
    """Return the name of a point's run, after the prefix."""
    return f"point {point_id[:12]}"


def _run_form(spec: SweepSpec, settings: WandbSpec) -> str:
    """Return the longest name of a run, with NAME for its prefix."""
    parts = [SUMMARY, *(f"{index}:{stage.name}" for index, stage in enumerate(spec.stages))]
    if settings.sampled:
        parts.append(point_part("0" * 32))
    return f"NAME {max(parts, key=len)}"


def _refuse(fault: str | None) -> None:
    if fault is not None:
        raise SweepError(f"{fault}; --no-tracking runs without W&B")
