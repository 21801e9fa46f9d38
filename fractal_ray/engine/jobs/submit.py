"""Ray Jobs: send a sweep to a cluster, follow it, stop it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

# It comes with ray[default], whose client is made of it.
import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobType

from fractal_ray.engine.jobs.client import Client
from fractal_ray.engine.jobs.keys import SEALED_KEYS, seal
from fractal_ray.engine.jobs.request import STOP_SECONDS, JobRequest, check_id
from fractal_ray.errors import SweepError

_QUIET_SECONDS = 30.0
"""Silence of a log after which the job's state is requested: the connection may be dead."""
_PATIENCE_SECONDS = 60.0


def submit(client: Client, request: JobRequest, package: Path) -> None:
    """Upload a package and start a job with it; its keys are sealed (`jobs.keys`)."""
    metadata = dict(request.metadata)
    if request.keys:
        metadata[SEALED_KEYS] = seal(request.keys, client.checked_token())
    client.submit_job(
        entrypoint=request.entrypoint,
        submission_id=request.id,
        runtime_env=request.runtime_env(package),
        metadata=metadata,
    )


def find(client: Client, job: str) -> JobDetails:
    """Return Ray's details of a job."""
    return client.get_job_info(check_id(job))


def every(client: Client) -> list[JobDetails]:
    """List all submitted jobs, newest first."""
    jobs = [job for job in client.list_jobs() if job.type is JobType.SUBMISSION]
    return sorted(jobs, key=lambda job: job.start_time or 0, reverse=True)


def logs(client: Client, job: str) -> str:
    """Return the output of a job so far."""
    return client.get_job_logs(check_id(job))


def follow(client: Client, job: str, write: Callable[[str], object]) -> JobDetails:
    """Pass on the output of a job until it ends, across lost connections.

    Parameters
    ----------
    client
        Client of the cluster.
    job
        Id of the job.
    write
        Called with pieces of text.

    Returns
    -------
    JobDetails
        Final state of the job.

    Raises
    ------
    SweepError
        For an unknown job, or when the server does not answer for a minute.
    """
    length = 0
    info = find(client, job)
    while True:
        length = asyncio.run(_tail(client, job, write, length))
        info = _patiently(client, job)
        if info.status.is_terminal():
            return info
        time.sleep(1)


async def _tail(client: Client, job: str, write: Callable[[str], object], written: int) -> int:
    """Follow one connection to its end; return how many characters of the log are written now.

    The server begins each connection with the whole log, of which `written` characters are
    written already.
    """
    received = 0
    pieces = client.tail_job_logs(job)
    waiting: asyncio.Task[str | None] | None = None
    while True:
        waiting = waiting or asyncio.ensure_future(_next(pieces))
        done, _ = await asyncio.wait({waiting}, timeout=_QUIET_SECONDS)
        if not done:
            if _is_over(client, job):
                waiting.cancel()
                return written
            continue
        try:
            piece = waiting.result()
        except (aiohttp.ClientError, OSError, RuntimeError):
            piece = None
        if piece is None:
            return written
        waiting = None
        if new := piece[max(0, written - received) :]:
            write(new)
        received += len(piece)
        written = max(written, received)


async def _next(pieces: AsyncIterator[str]) -> str | None:
    return await anext(pieces, None)


def _is_over(client: Client, job: str) -> bool:
    """Return True if a job has ended, or the server does not know it."""
    try:
        return find(client, job).status.is_terminal()
    except SweepError:
        return True


def _patiently(client: Client, job: str) -> JobDetails:
    """Return the state of a job; retry while the server does not answer."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return find(client, job)
        except SweepError:
            if time.monotonic() > end:
                raise
        time.sleep(2)


def stop(client: Client, job: str) -> tuple[bool, JobDetails]:
    """Stop a job, and wait for its end.

    Returns
    -------
    (bool, JobDetails)
        True if the job was running, and its present state.
    """
    running = client.stop_job(check_id(job))
    info = find(client, job)
    passed = (info.runtime_env or {}).get("env_vars", {})
    patience = float(passed.get("RAY_JOB_STOP_WAIT_TIME_S", STOP_SECONDS))
    end = time.monotonic() + patience + 10
    while not info.status.is_terminal() and time.monotonic() < end:
        time.sleep(0.5)
        info = find(client, job)
    return running, info


def exit_code(info: JobDetails) -> int:
    """Return the exit code of a job as a shell gives it: 130 for a stopped job."""
    if info.status is JobStatus.SUCCEEDED:
        return 0
    if info.status is JobStatus.STOPPED:
        return 130
    code = info.driver_exit_code or 1
    return 128 - code if code < 0 else code
