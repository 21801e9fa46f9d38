"""Properties of the box counts of any mask."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fractal_ray.dimension.box_counts import boxcount

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)
MASKS = arrays(np.bool_, SHAPES)
SQUARES = st.sampled_from([1, 2, 8, 16, 32]).flatmap(lambda n: arrays(np.bool_, (n, n)))


@given(MASKS)
def test_doubling_a_box_merges_at_most_four(mask: np.ndarray) -> None:
    counts = boxcount(mask).counts
    assert (counts[:-1] >= counts[1:]).all()
    assert (counts[:-1] <= 4 * counts[1:]).all()


@given(MASKS)
def test_turning_and_flipping_changes_nothing(mask: np.ndarray) -> None:
    found = boxcount(mask)
    turns = [mask.T]
    # A side one cell short of whole windows is completed at its far end, so it may not flip.
    window = int(found.sizes[-1])
    turns += [mask[::-1]] if (mask.shape[0] + 1) % window else []
    turns += [mask[:, ::-1]] if (mask.shape[1] + 1) % window else []
    for turned in turns:
        again = boxcount(np.ascontiguousarray(turned))
        assert again.counts.tolist() == found.counts.tolist()
        assert again.dimension == found.dimension


@given(SQUARES)
def test_agrees_with_a_plain_loop_on_squares(mask: np.ndarray) -> None:
    found = boxcount(mask)
    rows, columns = np.nonzero(mask)
    for size, count in zip(found.sizes.tolist(), found.counts.tolist(), strict=True):
        boxes = set(zip((rows // size).tolist(), (columns // size).tolist(), strict=True))
        assert count == len(boxes)


@given(MASKS)
def test_no_cell_is_cut_off(mask: np.ndarray) -> None:
    found = boxcount(mask)
    assert found.n_boundary == mask.sum()
    assert found.counts[0] >= found.n_boundary
    assert (found.counts[-1] > 0) == mask.any()


@given(MASKS)
def test_dimension_is_none_or_within_the_plane(mask: np.ndarray) -> None:
    found = boxcount(mask)
    if found.dimension is None:
        assert found.stderr is None
        assert not mask.any() or len(found.fit_sizes) < 3
    else:
        assert -1e-12 <= found.dimension <= 2 + 1e-12
        assert found.stderr is not None


@given(MASKS, st.data())
def test_more_boundary_never_fills_fewer_boxes(mask: np.ndarray, data: st.DataObject) -> None:
    more = mask | data.draw(arrays(np.bool_, mask.shape))
    assert (boxcount(more).counts >= boxcount(mask).counts).all()
