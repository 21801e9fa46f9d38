"""Refusal of torchrun around commands that are not data-parallel."""

import os
import sys

from nanochat.errors import NanochatError


def refuse_torchrun(program: str, instead: str) -> None:
    """End a process that torchrun started beside others, which would repeat the whole command.

    Every process but the first ends without a message.

    Parameters
    ----------
    instead
        Advice for the user, after "start it once, without torchrun".

    Raises
    ------
    NanochatError
        In the first process.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if "TORCHELASTIC_RUN_ID" not in os.environ or count == "1":
        return
    if os.environ.get("RANK", "0") != "0":
        sys.exit(2)
    raise NanochatError(
        f"{program} is not data-parallel, and torchrun started it as {count} processes, each of "
        f"which would do all of the work; start it once, without torchrun{instead}"
    )
