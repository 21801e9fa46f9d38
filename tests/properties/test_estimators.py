"""Properties of estimators on any labels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fractal_ray.analysis.verify.reading import neighbour_correlation
from fractal_ray.dimension import dilation, transects, uncertainty
from fractal_ray.dimension.entropy import basin_entropy
from fractal_ray.dimension.intervals import resampled
from fractal_ray.dimension.pair_counts import TILES, lattice_pairs
from fractal_ray.dimension.published import porespy_boxcount

LABELS = arrays(
    np.int8,
    array_shapes(min_dims=2, max_dims=2, min_side=9, max_side=40),
    elements=st.integers(-1, 1),
)
ESTIMATES = [transects.from_raster, uncertainty.from_raster, dilation.from_raster]


@settings(max_examples=15)
@given(LABELS)
def test_yes_and_no_are_alike_and_so_are_rows_and_columns(labels: np.ndarray) -> None:
    swapped = np.where(labels < 0, labels, 1 - labels)
    for estimate in ESTIMATES:
        measured = estimate(labels).measured
        assert estimate(swapped).measured == measured
        assert np.allclose(estimate(np.ascontiguousarray(labels.T)).measured, measured)


@settings(max_examples=15)
@given(LABELS)
def test_values_and_intervals_lie_in_the_plane(labels: np.ndarray) -> None:
    for estimate in ESTIMATES:
        found = estimate(labels)
        if found.value is None:
            assert found.interval is None
            assert found.warnings
        else:
            assert found.interval is not None
            assert 0 <= found.interval[0] <= found.value + 1e-12
            assert found.value - 1e-12 <= found.interval[1] <= 2


@given(LABELS, st.integers(-3, 3), st.integers(0, 3))
def test_pairs_are_those_of_a_plain_loop(labels: np.ndarray, rows: int, columns: int) -> None:
    known, differ = lattice_pairs(labels, [[(rows, columns)]])
    assert known.shape == (TILES * TILES, 1)
    ny, nx = labels.shape
    pairs = [
        (labels[y, x], labels[y + rows, x + columns])
        for y in range(ny)
        for x in range(nx - columns)
        if 0 <= y + rows < ny
    ]
    pairs = [(a, b) for a, b in pairs if a >= 0 and b >= 0]
    assert known.sum() == len(pairs)
    assert differ.sum() == sum(a != b for a, b in pairs)


@given(LABELS)
def test_correlation_is_at_most_one(labels: np.ndarray) -> None:
    found = neighbour_correlation(labels)
    kinds = set(labels[labels >= 0].tolist())
    assert (found is None) == (len(kinds) < 2)
    assert found is None or found <= 1


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=11, max_side=30)))
def test_porespys_counts_are_those_of_its_loop(mask: np.ndarray) -> None:
    found = porespy_boxcount(mask)
    for size, count in zip(found.sizes, found.counts, strict=True):
        boxes = [
            mask[row : row + size, column : column + size]
            for row in range(0, mask.shape[0], size)
            for column in range(0, mask.shape[1], size)
        ]
        assert count == sum(box.any() and not box.all() for box in boxes)


@given(LABELS, st.integers(2, 9))
def test_entropy_is_at_most_that_of_even_shares(labels: np.ndarray, box: int) -> None:
    found = basin_entropy(labels, box=box)
    assert found.mixed <= found.boxes
    if found.boundary is not None and found.basin is not None:
        assert 0 <= found.basin <= found.boundary + 1e-12 <= np.log(2) + 2e-12


@given(st.integers(1, 30), st.integers(1, 3), st.integers(0, 5))
def test_blocks_that_are_alike_give_the_same_total(blocks: int, groups: int, seed: int) -> None:
    parts = np.full((blocks, 2), 3.0)
    of_one = resampled(parts, None, seed)
    assert (of_one == 3 * blocks).all()
    evenly = resampled(np.repeat(parts, groups, axis=0), np.repeat(np.arange(groups), blocks), seed)
    assert (evenly == 3 * blocks * groups).all()
