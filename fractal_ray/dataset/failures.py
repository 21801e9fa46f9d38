"""Groups of failed runs: failures with one cause differ in their numbers only."""

import re

_VARIES = re.compile(r"0x[0-9a-fA-F]+|[-+]?\d[\d_,.]*(?:[eE][-+]?\d+)?")
"""Numbers and addresses in the text of an error, which differ from point to point."""


def signature(error: str) -> str:
    """Return an error without the numbers in it, which differ from point to point."""
    return _VARIES.sub("#", error)
