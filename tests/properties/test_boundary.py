"""Properties of the boundary cells of any labels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from fractal_ray.plane.boundary import boundary_cells

SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
LABELS = arrays(np.int8, SHAPES, elements=st.sampled_from([-1, 0, 1]))


@given(LABELS)
def test_agrees_with_a_plain_loop(labels: np.ndarray) -> None:
    found = boundary_cells(labels)
    assert found.mixed.shape == found.known.shape == (labels.shape[0] - 1, labels.shape[1] - 1)
    for row, column in np.ndindex(*found.mixed.shape):
        corners = set(labels[row : row + 2, column : column + 2].ravel().tolist())
        assert found.mixed[row, column] == ({0, 1} <= corners)
        assert found.known[row, column] == ({0, 1} <= corners or -1 not in corners)


@given(LABELS)
def test_yes_and_no_may_swap(labels: np.ndarray) -> None:
    swapped = np.where(labels == -1, -1, 1 - labels).astype(np.int8)
    before, after = boundary_cells(labels), boundary_cells(swapped)
    assert (before.mixed == after.mixed).all()
    assert (before.known == after.known).all()


@given(LABELS)
def test_axes_may_swap_and_flip(labels: np.ndarray) -> None:
    found = boundary_cells(labels)
    for turn in (np.transpose, np.flipud, np.fliplr):
        turned = boundary_cells(turn(labels))
        assert (turned.mixed == turn(found.mixed)).all()
        assert (turned.known == turn(found.known)).all()


@given(LABELS, st.data())
def test_learning_a_point_never_unmakes_a_boundary_cell(
    labels: np.ndarray, data: st.DataObject
) -> None:
    answers = data.draw(arrays(np.int8, labels.shape, elements=st.sampled_from([0, 1])))
    before = boundary_cells(labels)
    after = boundary_cells(np.where(labels == -1, answers, labels))
    assert after.known.all()
    assert (after.mixed[before.known] == before.mixed[before.known]).all()
