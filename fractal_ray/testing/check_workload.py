"""Conformance suite for workloads: the contract of `fractal_ray/workloads/base.py`.

Every check opens new runners. Records are compared without `seconds` and `side_by_side`, which
depend on the machine and on the size of a tile.
"""

import functools
import hashlib
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.testing.contract import fail
from fractal_ray.workloads.base import Prepared, Workload

_CIRCUMSTANCES = ("seconds", "side_by_side")
"""Fields of a record that a repeated run need not show again."""

_FRESH_FINGERPRINT = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
print(pickle.load(sys.stdin.buffer).prepare().fingerprint)
"""


@dataclass(frozen=True)
class Case:
    """A workload with the points that it is tested on.

    Parameters
    ----------
    workload
        The workload.
    points
        Points whose runs differ from each other.
    device
        "cpu" or "cuda".
    diverging
        Points whose runs diverge.
    exact
        Compare whole records; False compares outcomes only.
    """

    workload: Workload
    points: tuple[Point, ...]
    device: str = "cpu"
    diverging: tuple[Point, ...] = ()
    exact: bool = True

    @functools.cached_property
    def prepared(self) -> Prepared:
        """Result of `prepare`, made once for all checks that do not test it."""
        return self.workload.prepare()

    def evaluate(self, points: Iterable[Point]) -> list[RunRecord]:
        """Return the records of one tile on a new runner."""
        runner = self.workload.open(self.prepared.shared, self.device)
        return list(runner.evaluate(list(points)))


def check_workload(
    workload: Workload,
    points: Sequence[Point],
    *,
    device: str = "cpu",
    diverging: Sequence[Point] = (),
    exact: bool = True,
) -> None:
    """Test a workload against the contract.

    Parameters
    ----------
    workload
        The workload.
    points
        At least two points whose runs give different records; a few more find more.
    device
        "cpu" or "cuda".
    diverging
        Points whose runs diverge.
    exact
        Compare whole records. False compares outcomes only, for runs that do not repeat to the bit,
        such as those on a GPU without deterministic mode.

    Raises
    ------
    AssertionError
        For the first broken rule.
    ValueError
        If `points` are fewer than two, or all their records are equal: no check could then see
        records in the wrong order.

    Examples
    --------
    >>> from fractal_ray import Axis, Frame
    >>> from fractal_ray.testing import check_workload
    >>> from fractal_ray.workloads.maps.workload import MapWorkload
    >>> side = Axis("x", "linear", -2.0, 2.0), Axis("y", "linear", -2.0, 2.0)
    >>> frame = Frame(0, *side, cells_x=2, cells_y=2)
    >>> check_workload(MapWorkload("disc"), list(frame.points()))
    """
    if len(points) < 2:
        raise ValueError(f"at least two points are needed; given {len(points)}")
    case = Case(workload, tuple(points), device, tuple(diverging), exact)
    for check in CHECKS:
        check(case)


# Checks, in the order in which `check_workload` runs them -------------------------------------


def check_recipe(case: Case) -> None:
    """Check that the recipe maps names to plain values, and stays as it is."""
    rule = "`recipe` is plain data"
    recipe = case.workload.recipe
    if not isinstance(recipe, Mapping):
        fail(rule, found=repr(recipe)[:200], allowed="a mapping")
    for name, value in recipe.items():
        if not isinstance(name, str) or not isinstance(value, str | bool | int | float):
            fail(rule, found=f"{name!r}: {value!r}", allowed="str keys; str, bool, int or float")
    before = dict(recipe)
    case.evaluate(case.points)
    if dict(case.workload.recipe) != before:
        fail(
            "`recipe` does not change",
            found=f"{dict(case.workload.recipe)} after a run",
            allowed=f"{before}, as before",
        )


def check_is_picklable(case: Case) -> None:
    """Check that the workload and its shared data can be sent to another process."""
    prepared = case.prepared
    if not isinstance(prepared, Prepared):
        fail("`prepare` returns Prepared", found=repr(prepared)[:200], allowed="Prepared")
    for name, value in (("the workload", case.workload), ("`Prepared.shared`", prepared.shared)):
        try:
            pickle.loads(pickle.dumps(value))
        except Exception as error:
            fail(
                f"{name} is picklable",
                found=f"{type(error).__name__}: {error}",
                allowed="classes at the top level of a module, with plain attributes; models and"
                " open files are made in `open`",
            )
    copy = replace(case, workload=pickle.loads(pickle.dumps(case.workload)))
    _compare(
        "a pickled copy of the workload gives equal records",
        case,
        case.evaluate(case.points),
        copy.evaluate(case.points),
    )


def check_fingerprint(case: Case) -> None:
    """Check that the fingerprint is the same each time, in this process and in a new one."""
    rule = "`Prepared.fingerprint` is stable"
    allowed = "a text that depends on weights, data and code only (hashlib, never hash() or id())"
    first, second = (case.workload.prepare().fingerprint for _ in range(2))
    if not isinstance(first, str) or not first:
        fail(rule, found=repr(first), allowed="a text that is not empty")
    if first != second:
        fail(rule, found=f"{first!r}, then {second!r}", allowed=allowed)
    if type(case.workload).__module__ == "__main__":
        return  # a new process cannot import the class
    done = subprocess.run(
        [sys.executable, "-c", _FRESH_FINGERPRINT],
        input=pickle.dumps(sys.path) + pickle.dumps(case.workload),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "1234"},
    )
    lines = done.stdout.decode().splitlines()
    if done.returncode or not lines:
        error = done.stderr.decode().strip().splitlines()[-1:]
        fail("`prepare` works in a new process", found=" ".join(error), allowed="no error")
    if lines[-1] != first:
        fail(rule, found=f"{first!r}, and {lines[-1]!r} in a new process", allowed=allowed)


def check_records(case: Case) -> None:
    """Check that a tile gives one well-formed record per point, in the order of the points."""
    runner = case.workload.open(case.prepared.shared, case.device)
    if not isinstance(runner.device, str) or not runner.device:
        fail("`Runner.device` names hardware", found=repr(runner.device), allowed="a text")
    records: list[RunRecord] = _evaluate(case, case.points)
    rule = "`evaluate` yields one RunRecord per point, in their order"
    if len(records) != len(case.points):
        fail(rule, found=f"{len(records)} for {len(case.points)} points", allowed="one a point")
    for point, record in zip(case.points, records, strict=True):
        if not isinstance(record, RunRecord):
            fail(rule, found=f"{record!r} for {point}", allowed="fractal_ray.RunRecord")
        _check_record(point, record)
    if not any(_difference(records[0], record) for record in records):
        raise ValueError("all points give equal records; choose points whose runs differ")
    alone = [case.evaluate([point])[0] for point in case.points]
    _compare(rule, case, alone, records)


def check_divergence(case: Case) -> None:
    """Check that a run that diverges gives a record."""
    for point, record in zip(case.diverging, _evaluate(case, case.diverging), strict=False):
        if record.outcome is not Outcome.DIVERGED:
            fail(
                "a run that diverges is a record with the outcome `diverged`",
                found=f"{record.outcome!r} for {point}",
                allowed="Outcome.DIVERGED with the step of the first loss that is not finite",
            )


def check_shared(case: Case) -> None:
    """Check that runners read `Prepared.shared` and never write into it."""
    rule = "a runner does not change `Prepared.shared`"
    allowed = "copies in the runner; under Ray all workers of a machine see one read-only memory"
    shared = case.workload.prepare().shared
    before = _digest(shared)
    list(case.workload.open(shared, case.device).evaluate(list(case.points)))
    if _digest(shared) != before:
        fail(rule, found="other bytes after a run", allowed=allowed)
    try:
        records = list(
            case.workload.open(_read_only(shared), case.device).evaluate(list(case.points))
        )
    except (ValueError, RuntimeError) as error:
        fail(rule, found=f"read-only arrays raise {error}", allowed=allowed)
    _compare(rule, case, case.evaluate(case.points), records)


def check_nothing_is_kept(case: Case) -> None:
    """Check that a record depends on its point only, not on the points before or beside it."""
    rule = "the record of a point does not depend on the points that ran before or beside it"
    points = list(case.points)
    reference = case.evaluate(points)
    runner = case.workload.open(case.prepared.shared, case.device)
    _compare(rule, case, reference, list(runner.evaluate(points)))
    reverse = list(runner.evaluate(points[::-1]))[::-1]
    _compare(f"{rule} (reversed)", case, reference, reverse)
    for size in (1, 2, 3):
        tiles = [points[start : start + size] for start in range(0, len(points), size)]
        records = [record for tile in tiles for record in runner.evaluate(tile)]
        _compare(f"{rule} (tiles of {size})", case, reference, records)


def check_runners_are_independent(case: Case) -> None:
    """Check that two runners of the same shared data do not see each other's runs."""
    rule = "runners opened from the same shared data do not influence each other"
    points = list(case.points)
    reference = case.evaluate(points)
    shared = case.prepared.shared
    first = case.workload.open(shared, case.device)
    second = case.workload.open(shared, case.device)
    list(second.evaluate(points[::-1]))
    _compare(rule, case, reference, list(first.evaluate(points)))
    third = case.workload.open(shared, case.device)
    _compare(rule, case, reference, list(third.evaluate(points)))


CHECKS = (
    check_records,
    check_recipe,
    check_is_picklable,
    check_fingerprint,
    check_divergence,
    check_shared,
    check_nothing_is_kept,
    check_runners_are_independent,
)
"""All checks, the simple rules first: each is a function of a `Case`."""


# Records --------------------------------------------------------------------------------------


def _evaluate(case: Case, points: Sequence[Point]) -> list[RunRecord]:
    """Return the records of a tile; an error of the workload breaks a rule."""
    if not points:
        return []
    try:
        return case.evaluate(points)
    except Exception as error:
        fail(
            "`evaluate` raises no error for a point of the plane",
            found=f"{type(error).__name__}: {error}",
            allowed="a record; a run that diverges has the outcome `diverged`",
        )


def _check_record(point: Point, record: RunRecord) -> None:
    """Check that the fields of a record agree with each other."""
    if record.outcome not in tuple(Outcome):
        fail("`outcome` is an Outcome", found=repr(record.outcome), allowed=f"{[*Outcome]}")
    diverged = record.outcome is Outcome.DIVERGED
    if diverged != (record.diverged_step is not None):
        fail(
            "`diverged_step` is the step of the first loss that is not finite, else None",
            found=f"{record.diverged_step} with the outcome {record.outcome.value} for {point}",
            allowed="a number with `diverged` and None with the other outcomes",
        )
    losses = np.asarray(record.losses)
    if losses.dtype != np.float32 or losses.ndim != 1 or not np.isfinite(losses).all():
        fail(
            "`losses` are the finite losses in order",
            found=f"{losses.dtype} of shape {losses.shape} for {point}: {losses[:4]}",
            allowed="a float32 array of one dimension without inf or nan",
        )
    if not (math.isfinite(record.seconds) and record.seconds >= 0):
        fail("`seconds` is a duration", found=f"{record.seconds} for {point}", allowed="0 or more")


def _compare(
    rule: str, case: Case, reference: Sequence[RunRecord], records: Sequence[RunRecord]
) -> None:
    """Fail at the first point whose two records differ."""
    if len(reference) != len(records):
        fail(rule, found=f"{len(records)} records", allowed=f"{len(reference)}")
    for point, one, other in zip(case.points, reference, records, strict=True):
        difference = _difference(one, other, exact=case.exact)
        if difference:
            fail(rule, found=f"{difference} for {point}", allowed="equal records")


def _difference(one: RunRecord, other: RunRecord, *, exact: bool = True) -> str:
    """Name the first field in which two records differ; return "" for equal records."""
    names = [field.name for field in fields(RunRecord)] if exact else ["outcome"]
    for name in names:
        first, second = getattr(one, name), getattr(other, name)
        if name == "losses":
            if len(first) != len(second):
                return f"{len(first)} losses, then {len(second)},"
            for step in np.flatnonzero(first != second)[:1]:
                return f"loss {step} is {first[step]!r}, then {second[step]!r},"
        elif name not in _CIRCUMSTANCES and repr(first) != repr(second):  # NaN is equal to NaN
            return f"{name} is {first!r}, then {second!r},"
    return ""


# Shared data ----------------------------------------------------------------------------------


def _digest(shared: Any) -> str:
    return hashlib.sha256(pickle.dumps(shared)).hexdigest()


def _read_only(shared: Any) -> Any:
    """Return a copy whose numpy arrays cannot be written, as workers get it from Ray."""
    buffers: list[pickle.PickleBuffer] = []
    text = pickle.dumps(shared, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(text, buffers=[bytes(buffer.raw()) for buffer in buffers])
