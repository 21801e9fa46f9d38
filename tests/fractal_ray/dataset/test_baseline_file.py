"""The file of the untouched model's losses: the same values back, and damage named."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fractal_ray.dataset.baseline_file import BASELINE, read_baseline, write_baseline
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.baseline import NO_BASELINE, Baseline

numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    st.dictionaries(st.tuples(numbers), st.lists(numbers, min_size=1, max_size=5), max_size=3),
    st.none() | numbers,
)
def test_it_holds_the_same_bits(
    tmp_path_factory: pytest.TempPathFactory, curves: dict, val_loss: float | None
) -> None:
    store = Store(str(tmp_path_factory.mktemp("dataset")))
    given_one = {k: np.array(v, dtype=np.float32) for k, v in curves.items()}
    write_baseline(store, Baseline(("x",), given_one, val_loss, 48))
    found = read_baseline(store)
    assert (found.sides, found.val_loss, found.width) == (("x",), val_loss, 48)
    assert found.curves.keys() == curves.keys()
    for values, curve in given_one.items():
        assert found.curves[values].tobytes() == curve.tobytes()


def test_without_the_file_nothing_is_known(tmp_path: Path) -> None:
    assert read_baseline(Store(str(tmp_path))) is NO_BASELINE
    assert NO_BASELINE.curve(1.0, 2.0) is None


HEAD = '{"schema_version": 1, "sides": [], "val_loss": '


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2}',
        HEAD.replace("[]", '["z"]') + 'null, "orders": []}',
        HEAD + '"no", "orders": []}',
        HEAD + 'NaN, "orders": []}',
        HEAD + 'null, "orders": [{}]}',
        HEAD + 'null, "orders": 3}',
        HEAD + 'null, "orders": [{"values": [1], "losses": [1.0]}]}',
        HEAD + 'null, "orders": [{"values": [], "losses": [true]}]}',
        HEAD + 'null, "orders": [{"values": [], "losses": [1e999]}]}',
    ],
)
def test_damage_is_one_line_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / BASELINE).write_text(text)
    command = re.escape(f"`fractal-ray advise {tmp_path} --baseline`")
    with pytest.raises(SweepError, match=rf"baseline\.json.*{command}"):
        read_baseline(Store(str(tmp_path)))
