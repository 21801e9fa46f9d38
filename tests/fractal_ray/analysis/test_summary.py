"""Notes of a summary on the label window."""

import pyarrow as pa

from fractal_ray.analysis.summary import notes_on_window


def test_a_window_of_more_than_half_of_the_steps_is_noted() -> None:
    table = pa.table(
        {
            "outcome": ["trained", "not_improved", "diverged", "trained"],
            "losses": pa.array([[1.0] * 8, [1.0] * 3, [1.0], []], pa.list_(pa.float32())),
            "steps": [8, 3, 1, 1],
        }
    )
    assert notes_on_window(table, 1) == []
    assert notes_on_window(table.slice(0, 0), 9) == []
    (one,), (both,) = notes_on_window(table, 4), notes_on_window(table, 5)
    assert "label.window 4 is more than half of the steps of 1 of the 2 runs" in one
    assert "label.window 5 is more than half of the steps of 2 of the 2 runs" in both
