"""Numbers and times as people read and type them."""

import math


def duration(seconds: float) -> str:
    """Format a number of seconds in the largest suitable unit."""
    for size, unit in ((86_400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.2g} s" if seconds < 10 else f"{seconds:,.0f} s"


def number(value: float) -> str:
    """Return a number with two digits behind its first, as users type it."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-2 <= abs(value) < 1e5:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def runs_text(count: int) -> str:
    """Return a number of runs in words."""
    return f"{count:,} run{'s' * (count != 1)}"
