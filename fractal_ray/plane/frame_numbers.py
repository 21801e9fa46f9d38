"""Numbers of frames, which contain the number of the stage that made the frame.

A grid of stage i fills frame i. The frames of a zoom of stage i are 1000 i, 1000 i + 1, ... in the
order in which they were chosen; lines and pairs on them have numbers of their own.
"""

from typing import Final

PER_STAGE: Final = 1000
"""Count of frame numbers that are reserved for one stage."""


def stage_of(frame_id: int) -> int:
    """Return the number of the stage that a frame belongs to."""
    return frame_id if frame_id < PER_STAGE else frame_id // PER_STAGE


def sampler_id(frame_id: int, index: int) -> int:
    """Return the frame number for the lines or pairs that stage `index` places on a frame."""
    return index * PER_STAGE + frame_id % PER_STAGE if frame_id >= PER_STAGE else index
