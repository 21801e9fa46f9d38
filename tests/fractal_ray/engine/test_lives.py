"""Dispatchers that die again and again."""

from pathlib import Path

import pytest

from fractal_ray.engine.cluster.lives import Lives
from fractal_ray.errors import SweepStoppedError


def test_three_deaths_without_a_row_are_the_end(tmp_path: Path) -> None:
    for _ in range(3):
        Lives(tmp_path / "lives").begin()
    with pytest.raises(SweepStoppedError, match="died 3 times in a row without a written row"):
        Lives(tmp_path / "lives").begin()


def test_a_written_row_lets_the_count_begin_again(tmp_path: Path) -> None:
    for _ in range(2):
        Lives(tmp_path / "lives").begin()
    third = Lives(tmp_path / "lives")
    third.begin()
    third.record_rows()
    for _ in range(2):
        Lives(tmp_path / "lives").begin()
    with pytest.raises(SweepStoppedError):
        Lives(tmp_path / "lives").begin()
