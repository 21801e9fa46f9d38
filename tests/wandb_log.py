"""Reads the transaction log of an offline W&B run: LevelDB's log format behind a header of 7 bytes.

wandb itself has no reader in Python any more.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

BLOCK = 32768
_HEADER = 7  # of the file, and of each fragment: checksum, length, kind
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def read_records(path: Path) -> list:
    """Every record of a ``.wandb`` file, parsed."""
    from wandb.proto.wandb_internal_pb2 import Record

    data = path.read_bytes()
    assert data[:4] == b":W&B"
    records = []
    for content in _contents(data):
        record = Record()
        record.ParseFromString(content)
        records.append(record)
    return records


def _contents(data: bytes) -> Iterator[bytes]:
    position, parts = _HEADER, []
    while position < len(data):
        left = BLOCK - position % BLOCK
        if left < _HEADER:  # too short for a fragment: filled with zeros
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        if kind == 0:
            return
        position += _HEADER
        parts.append(data[position : position + length])
        position += length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
