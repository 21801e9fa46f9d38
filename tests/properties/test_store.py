"""The store: appended rows are read, whatever happens between write and rename."""

import contextlib
import math
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.rows import Evaluation, Origin
from fractal_ray.dataset.store import Store
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import STORED, RunRecord

floats = st.floats(width=32, allow_nan=True, allow_infinity=True)


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Draw rows with any values; point_id has few values so that duplicates happen."""
    point = Point(
        frame=draw(st.integers(0, 1)),
        level=draw(st.integers(0, 2)),
        ix=draw(st.integers(0, 2**40)),
        iy=draw(st.integers(0, 2**40)),
        x=draw(st.floats(allow_nan=False)),
        y=draw(st.floats(allow_nan=False)),
    )
    losses = np.array(draw(st.lists(floats, max_size=5)), dtype=np.float32)
    origin = Origin(
        point_id=f"{draw(st.integers(0, 12)):032x}",
        stage="0:grid",
        point=point,
        seed=draw(st.integers(-(2**60), 2**60)),
        host="host",
        device="cpu",
        attempt=1,
        fingerprint="f",
    )
    outcome = draw(st.sampled_from(STORED))
    step = draw(st.none() | st.integers(0, 100))
    return Evaluation(
        origin,
        RunRecord(outcome, "", step, final_loss=draw(floats), losses=losses, steps=len(losses)),
    )


batches = st.lists(st.lists(evaluations(), max_size=6), max_size=5)


def ids(rows: list[Evaluation]) -> set[str]:
    return {row.origin.point_id for row in rows}


@settings(deadline=None, max_examples=60)
@given(batches, st.booleans())
def test_every_row_comes_back_once_with_its_bits(
    appended: list[list[Evaluation]], compacted: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for rows in appended:
            store.append(rows)
        if compacted:
            compact(store)
        found = store.read().to_pylist()
    rows = [row for batch in appended for row in batch]
    assert sorted(row["point_id"] for row in found) == sorted(ids(rows))
    written = {}
    for row in rows:
        written.setdefault(row.origin.point_id, []).append(row)
    for row in found:
        assert any(_same(row, candidate) for candidate in written[row["point_id"]])


def _same(found: dict, row: Evaluation) -> bool:
    point, record = row.origin.point, row.record
    losses = np.array(found["losses"], dtype=np.float32)
    return (
        (found["frame"], found["level"]) == (point.frame, point.level)
        and (found["ix"], found["iy"], found["x"], found["y"])
        == (point.ix, point.iy, point.x, point.y)
        and found["outcome"] == record.outcome.value
        and found["diverged_step"] == record.diverged_step
        and losses.tobytes() == record.losses.tobytes()
        and (found["final_loss"] == record.final_loss or math.isnan(record.final_loss))
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(evaluations(), min_size=1, max_size=6), st.lists(evaluations(), min_size=1))
def test_a_crash_between_write_and_rename_loses_only_that_append(
    before: list[Evaluation], lost: list[Evaluation]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.append(before)
        with (
            mock.patch("os.fsync"),
            mock.patch.object(Path, "replace", side_effect=KeyboardInterrupt),
            mock.patch.object(Path, "unlink"),  # a killed process tidies nothing up
            pytest.raises(KeyboardInterrupt),
        ):
            store.append(lost)
        assert list(Path(folder).rglob("*.tmp")), "the half-written part is there"
        reader = Store(folder)
        assert set(reader.read(["point_id"]).column("point_id").to_pylist()) == ids(before)
        reader.append(lost)
        compact(reader)
        assert not list(Path(folder).rglob("*.tmp"))
        assert set(reader.read(["point_id"]).column("point_id").to_pylist()) == ids(before + lost)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(evaluations(), min_size=1, max_size=4), min_size=2, max_size=5), st.data())
def test_a_crash_inside_compaction_loses_nothing(
    appended: list[list[Evaluation]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        for rows in appended:
            store.append(rows)
        before = set(store.read(["point_id"]).column("point_id").to_pylist())
        survivors = data.draw(st.integers(0, 3))
        calls = 0

        def delete_some(self: object, path: str) -> None:
            nonlocal calls
            calls += 1
            if calls > survivors:
                raise KeyboardInterrupt
            Path(path).unlink()

        crash = contextlib.suppress(KeyboardInterrupt)
        with mock.patch.object(Store, "_delete", delete_some), crash:
            compact(store)
        assert calls or len(store.parts("points")) == len(list(Path(folder).rglob("level=*")))
        assert set(store.read(["point_id"]).column("point_id").to_pylist()) == before
        compact(Store(folder))
        table = Store(folder).read(["point_id"])
        assert sorted(table.column("point_id").to_pylist()) == sorted(before)
