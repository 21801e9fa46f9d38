"""Version of the contracts that the suites test, and the form of their messages."""

from typing import Final, NoReturn

CONTRACT: Final = 1
"""Version of the contracts of workloads and planners.

Later versions add optional methods. The methods of version 1 do not change, so a workload or
planner that passes today passes later.
"""


def fail(rule: str, *, found: str, allowed: str) -> NoReturn:
    """Raise the AssertionError of a broken rule.

    Parameters
    ----------
    rule
        The rule in one sentence without a full stop.
    found
        The observation that breaks it.
    allowed
        The behaviour that the contract allows.
    """
    raise AssertionError(f"contract {CONTRACT}: {rule}; found: {found}; allowed: {allowed}")
