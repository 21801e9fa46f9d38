"""A fine-tune in its own process, for callers that must survive its crash or need a fresh start."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.errors import NanochatError
from nanochat.finetune_run.result import PREFIX

BAD_INPUT = 2  # exit status of `nanochat` for bad input


@dataclass(frozen=True)
class Child:
    """Finished process of a fine-tune.

    Attributes
    ----------
    code
        Exit status; below 0 the signal that killed it.
    content
        Its result file, parsed; None where it left none.
    reason
        Last line of its errors.
    """

    code: int
    content: dict[str, Any] | None
    reason: str

    @property
    def fields(self) -> dict[str, Any]:
        """Return the fields of the result; empty where there is none."""
        return self.content["result"] if self.content is not None else {}

    @property
    def finished(self) -> bool:
        """Return True if the run left a result and no error ended it; divergence is no error."""
        return self.code == 0 and self.content is not None


def finetune_in_child(
    given: Mapping[str, Any], out: Path, environment: Mapping[str, str], timeout: float | None
) -> Child:
    """Run ``nanochat finetune`` and wait for it.

    Parameters
    ----------
    given
        Settings by name.
    out
        Folder of its own for the result; ``output.log`` with all that it said is put there, too.
    environment
        All of its variables.
    timeout
        Seconds until it is killed.

    Raises
    ------
    NanochatError
        For bad input, with the message of the command.
    """
    out.mkdir(parents=True, exist_ok=True)
    arguments = [f"--{name.replace('_', '-')}={_word(value)}" for name, value in given.items()]
    command = [sys.executable, "-m", "nanochat", "finetune", *arguments, f"--out={out}"]
    log = out / "output.log"
    with log.open("wb") as file:
        try:
            code = subprocess.run(
                command, env=dict(environment), stdout=file, stderr=file, timeout=timeout
            ).returncode
        except subprocess.TimeoutExpired:
            return Child(-9, None, f"killed after {timeout:g} s")
    lines = log.read_text(errors="replace").strip().splitlines()
    reason = lines[-1].removeprefix("error: ") if lines else ""
    if code == BAD_INPUT:
        raise NanochatError(reason)
    # An empty file is left by a run that was killed before its end.
    results = [path.read_bytes() for path in sorted(out.glob(f"{PREFIX}*.json"))]
    return Child(code, json.loads(results[-1]) if results and results[-1] else None, reason)


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
