"""Notes of a summary on the label window."""

import pyarrow as pa

from fractal_ray.analysis.summary import notes_on_window
from fractal_ray.dataset.relabel import long_windows
from fractal_ray.plane.outcome import Criterion
from fractal_ray.sweep import load


def test_a_window_of_more_than_half_of_the_steps_is_noted() -> None:
    table = pa.table(
        {
            "outcome": ["trained", "not_improved", "diverged", "trained"],
            "losses": pa.array([[1.0] * 8, [1.0] * 3, [1.0], []], pa.list_(pa.float32())),
            "steps": [8, 3, 1, 1],
        }
    )
    one_loss, four, five, nine = (Criterion(window=each, threshold=1.0) for each in (1, 4, 5, 9))
    assert notes_on_window(table, one_loss) == []
    assert notes_on_window(table.slice(0, 0), nine) == []
    (one,), (both,) = notes_on_window(table, four), notes_on_window(table, five)
    assert "label.window 4 is more than half of the steps of 1 of the 2 runs" in one
    assert "label.window 5 is more than half of the steps of 2 of the 2 runs" in both
    held_out = Criterion(window=9, threshold=1.0, reference="held_out")
    assert notes_on_window(table, held_out) == []


def test_a_map_has_the_runs_with_a_long_window() -> None:
    sweep = load("notebooks/data/lr-tokens")
    table, raster = sweep.table(), sweep.raster()
    long = long_windows(table, sweep.spec.label.criterion)
    assert raster.long_window is not None
    assert 0 < raster.long_window.sum() == long.sum() < table.num_rows
    x = table.column("x").to_numpy()
    columns = raster.long_window.any(axis=0)
    assert set(raster.x[columns]) == set(x[long])
    assert load("notebooks/data/border").raster().long_window is None
