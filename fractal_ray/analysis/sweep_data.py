"""The data of a sweep: its spec, and the dataset that its runs have filled.

Analysis, figures, report and tracking take a `SweepData`; `fractal_ray.sweep.Sweep` adds the
methods that run a sweep.
"""

import functools
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from fractal_ray.dataset.baseline_file import read_baseline
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.header import HEADER, read_header
from fractal_ray.dataset.store import Store, inside
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import stage_of
from fractal_ray.plane.boundary import is_yes
from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.spec.frames import SweepFrame, sweep_frames
from fractal_ray.spec.nearby import no_sweep_in
from fractal_ray.spec.resources import ResourcesSpec
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.spec.yaml_file import load_spec, parse_spec
from fractal_ray.spec.yaml_loader import parse_yaml
from fractal_ray.workloads.base import Seeding, Workload
from fractal_ray.workloads.section import WorkloadSection
from nanochat.errors import user_path


@dataclass(frozen=True, eq=False)
class SweepData:
    """A spec and the place of its dataset.

    Parameters
    ----------
    spec
        The validated spec.
    location
        Folder or URI of the dataset.
    given_workload
        The workload object that runs points; None for the workload that the spec names.
    skip_corrupt
        Leave out parts of the dataset that cannot be read instead of raising.
    opened_with
        Path and changed settings that the sweep was opened with; empty for a sweep made in Python.
    """

    spec: SweepSpec
    location: str
    given_workload: Workload | None = None
    skip_corrupt: bool = False
    opened_with: tuple[str, ...] = ()

    @classmethod
    def open(
        cls, path: str | Path, overrides: tuple[str, ...] = (), *, skip_corrupt: bool = False
    ) -> Self:
        """Open a sweep from its YAML, or from the folder of its dataset.

        Raises
        ------
        SweepError
            If the spec is not valid or the folder holds no sweep.
        """
        remote = "://" in str(path)
        opened_with = (str(path), *overrides)
        if not remote and not user_path(path, SweepError).is_dir():
            spec = load_spec(path, overrides)
            location = inside(spec.storage, spec.name)
            spec = with_settings_of_dataset(spec, location)
            return cls(spec, location=location, skip_corrupt=skip_corrupt, opened_with=opened_with)
        if any(override.startswith("storage=") for override in overrides):
            raise SweepError(f"{path} is a dataset's folder; --storage goes with a spec's YAML")
        header = read_header(Store(str(path)))
        if header is None:
            missing = f"{path} holds no sweep: there is no {HEADER} in it"
            raise SweepError(missing if remote else no_sweep_in(Path(path)))
        has_folder = not remote and "folder" in header
        context = {"folder": str(Path(path) / header["folder"])} if has_folder else {}
        spec = parse_spec(header["spec"], overrides, origin=f"{path}/{HEADER}", context=context)
        location = str(path) if remote else str(Path(path).absolute())
        return cls(spec, location=location, skip_corrupt=skip_corrupt, opened_with=opened_with)

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        axes: Mapping[str, Any],
        stages: Sequence[Mapping[str, Any]],
        storage: str = "results",
        name: str | None = None,
        **keys: Any,
    ) -> Self:
        """Return a sweep of a Python function that has run nothing yet.

        Parameters
        ----------
        function
            A function of a module, or of a notebook; docs/sweeps.md has what it gets and returns.
        axes, stages, storage
            As in YAML, ``axes={"x": {"param": "lr", "min": 1e-4, "max": 1.0}, "y": ...}``. An axis
            may also be a `fractal_ray.Axis`.
        name
            Name of the sweep; None for that of the function.
        keys
            Other keys of the spec (`label`, `resources`, ...) and of its section `workload`
            (`settings`, `metrics`, `files`, `seed`, ...).

        Raises
        ------
        SweepError
            For a wrong key, and for what is no function.
        """
        from fractal_ray.spec.function_spec import function_spec

        spec = function_spec(function, axes, stages, name, storage, keys)
        return cls(spec, location=inside(spec.storage, spec.name))

    def store(self) -> Store:
        """Return the dataset."""
        return Store(self.location)

    def header(self) -> dict[str, Any] | None:
        """Return the content of `sweep.json` (docs/storage.md); None before the first run.

        Raises
        ------
        SweepError
            If the file is damaged.
        """
        return read_header(self.store())

    @property
    def run_command(self) -> str:
        """Return the command that runs this sweep, with its path and changed settings."""
        path, *settings = self.opened_with or (self.location,)
        if not self.opened_with and self.header() is None:
            path = "SPEC.yaml"
        words = ["fractal-ray", "run", path]
        for setting in settings:
            key, _, value = setting.partition("=")
            words += (
                ["--storage", str(parse_yaml(value))] if key == "storage" else ["--set", setting]
            )
        return shlex.join(words)

    @property
    def rule(self) -> LabelRule:
        """Return the rule that labels the rows, with the losses of the untouched model if known."""
        return self.spec.label_rule(read_baseline(self.store()))

    def table(self) -> pa.Table:
        """Read all evaluations, one row per point (docs/storage.md lists the columns)."""
        return self.store().read(skip_corrupt=self.skip_corrupt)

    def damaged_parts(self) -> list[str]:
        """Return the paths of the damaged parts that readers of this sweep leave out."""
        return self.store().damaged_parts() if self.skip_corrupt else []

    def left_out(self) -> list[str]:
        """Return the line that names the damaged parts that readers leave out; none without any."""
        damaged = self.damaged_parts()
        if not damaged:
            return []
        parts = "1 damaged part is" if len(damaged) == 1 else f"{len(damaged)} damaged parts are"
        return [f"{parts} left out of every count: {', '.join(damaged)}"]

    @property
    def frames(self) -> dict[int, SweepFrame]:
        """Return all frames so far by number, frames of a zoom in the order of their choice."""
        return sweep_frames(self.spec, read_zooms(self.store()))

    def frame(self, number: int | None = None) -> SweepFrame:
        """Return a frame with its finest lattice; the last frame by default.

        Raises
        ------
        SweepError
            If there is no frame with this number, or it has not been chosen yet.
        """
        frames = self.frames
        if number is None:
            return frames[max(frames, key=lambda each: (stage_of(each), each))]
        if number not in frames:
            raise SweepError(
                f"there is no frame {number}; {self.location} has"
                f" {', '.join(str(each) for each in frames)}"
            )
        return frames[number]

    def is_of_this_spec(self) -> bool:
        """Return True if the folder holds a dataset of this workload on these axes."""
        header = read_header(self.store())
        spec = self.spec.model_dump(mode="json")
        return header is not None and all(
            header["spec"].get(part) == spec[part] for part in ("workload", "axes")
        )

    def in_other_dtype(self) -> SweepSpec | None:
        """Return the spec of these runs in another dtype; None where there is only one dtype."""
        return self._with_runs(self.spec.workload.in_other_dtype())

    def in_deterministic_mode(self) -> SweepSpec | None:
        """Return the spec of these runs in deterministic mode.

        None if repeated runs agree to the bit in any mode, or if a workload object passed in Python
        runs the points.
        """
        return self._with_runs(self.spec.workload.in_deterministic_mode())

    @property
    def seeding(self) -> Seeding | None:
        """Return the seed of these runs; None if they can have no other one."""
        axes = self.spec.axes
        if self.given_workload is not None or "seed" in (axes.x.param, axes.y.param):
            return None
        return self.spec.workload.seeding

    def with_seed(self, seed: int) -> SweepSpec:
        """Return the spec of these runs with another seed; itself if they have this seed."""
        workload = self.spec.workload.with_seed(seed)
        if workload is self.spec.workload:
            return self.spec
        return self.spec.model_copy(update={"workload": workload})

    def _with_runs(self, workload: WorkloadSection | None) -> SweepSpec | None:
        """Return the spec with another workload section; None if there is no such section."""
        if workload is None or self.given_workload is not None:
            return None
        return self.spec.model_copy(update={"workload": workload})


def with_settings_of_dataset(spec: SweepSpec, location: str) -> SweepSpec:
    """Return the spec with settings of its dataset where the spec names none.

    These are the device, the probes of refinements, and the border: a dataset that was begun when
    they had other defaults thus keeps its points.
    """
    spec = with_device_of_dataset(spec, location)
    unnamed = [
        index
        for index, stage in enumerate(spec.stages)
        if stage.refine is not None and stage.refine.probes is None
    ]
    border = "boundary" not in spec.label.model_fields_set
    header = read_header(Store(location)) if unnamed or border else None
    if header is None:
        return spec
    label, begun = spec.label, header["spec"].get("stages") or []
    if border and (boundary := header["spec"]["label"]["boundary"]) != label.boundary:
        label = label.model_copy(update={"boundary": boundary})
    stages = list(spec.stages)
    for index in unnamed:
        stage = begun[index] if index < len(begun) else {}
        refine, theirs = stages[index].refine, stage.get("refine")
        if refine is not None and theirs is not None and theirs["probes"] is not None:
            refine = refine.model_copy(update={"probes": theirs["probes"]})
            stages[index] = stages[index].model_copy(update={"refine": refine})
    return spec.model_copy(update={"stages": tuple(stages), "label": label})


def with_device_of_dataset(spec: SweepSpec, location: str) -> SweepSpec:
    """Return the spec with the cards a slot that its dataset was begun with, if it names none."""
    header = read_header(Store(location)) if spec.resources.gpu is None else None
    if header is None or (gpu := (header["spec"].get("resources") or {}).get("gpu")) is None:
        return spec
    resources = ResourcesSpec.model_validate({**spec.resources.model_dump(), "gpu": gpu})
    return spec.model_copy(update={"resources": resources})


def label_of(sweep: SweepData) -> functools.partial[bool]:
    """Return the function that labels an outcome by the spec's boundary: True for yes."""
    return functools.partial(is_yes, boundary=sweep.spec.label.boundary)
