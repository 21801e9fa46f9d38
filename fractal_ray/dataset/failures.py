"""The groups of failed runs: errors with one cause differ only in their numbers."""

import re

_VARIES = re.compile(r"0x[0-9a-fA-F]+|[-+]?\d[\d_,.]*(?:[eE][-+]?\d+)?")
"""Numbers and addresses in the text of an error, which differ from point to point."""


def signature(error: str) -> str:
    """Return the text of an error without numbers, which differ from point to point."""
    return _VARIES.sub("#", error)
