"""Client of the Jobs server of a cluster, which raises a `SweepError` for each problem."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# It comes with ray[default], whose client is made of it.
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from fractal_ray.engine.jobs.auth_token import SET_TOKEN, auth_token
from fractal_ray.errors import SweepError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
# Seconds to connect, and between two bytes of an answer. Ray's client has no limit.
_TIMEOUTS = (5.0, 60.0)

# At level INFO they report each upload and each closed socket.
for _name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class Client(JobSubmissionClient):
    """Ray's client with time-outs and plain errors."""

    def checked_token(self) -> str | None:
        """Return the token that the cluster checks; None if it takes requests without one."""
        mode = self._do_request("GET", "/api/authentication_mode").json()["authentication_mode"]
        return auth_token() if mode == "token" else None

    def _do_request(self, method: str, endpoint: str, **kwargs: Any) -> requests.Response:
        try:
            return super()._do_request(method, endpoint, timeout=_TIMEOUTS, **kwargs)
        except AuthenticationError as error:
            raise SweepError(_about_token(self._address, self._headers)) from error
        except requests.RequestException as error:
            raise SweepError(
                f"no answer from a Ray dashboard at {self._address} ({type(error).__name__}). Is"
                " the cluster up, and the port forwarded? `ray start --head` serves it on port"
                " 8265 of the head node; another place: --address http://HOST:PORT"
            ) from error

    def _raise_error(self, r: requests.Response) -> NoReturn:
        lines = [line for line in r.text.splitlines() if line.strip(" .")]
        reason = lines[-1] if lines else "no reason given"
        if r.status_code == 404 and "does not exist" in reason:
            raise SweepError(f"{reason}; `fractal-ray jobs list` shows those there are")
        if r.status_code == 413:
            raise SweepError(
                f"the package is too large for this cluster; ship less, and refuse earlier with"
                f" --limit: {reason}"
            )
        if "already exists" in r.text:
            raise SweepError("a job of this id is there already; give another --id, or none")
        raise SweepError(f"{self._address} refused ({r.status_code}): {reason}")


def connect(address: str | None) -> Client:
    """Return a client of the Jobs server of a cluster.

    Parameters
    ----------
    address
        ``http://host:8265``; None takes RAY_API_SERVER_ADDRESS, then RAY_ADDRESS, then this
        machine's dashboard. A token is sent if there is one: RAY_AUTH_TOKEN,
        RAY_AUTH_TOKEN_PATH or ``~/.ray/auth_token``, unless RAY_AUTH_MODE is ``disabled``.

    Raises
    ------
    SweepError
        When no usable server answers there within seconds.
    """
    where, origin = _where(address)
    if not where.startswith(("http://", "https://")):
        raise SweepError(
            f"{origin} is {where!r}; jobs are sent to the cluster's dashboard, so give its"
            " address: --address http://HOST:8265"
        )
    token = auth_token()
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with _address_in_environment(where):
        try:
            return Client(where, headers=headers)
        except SweepError:
            raise
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise SweepError(
                f"what answers at {where} is no Ray dashboard: {' '.join(str(error).split())}"
            ) from error


def _where(address: str | None) -> tuple[str, str]:
    """Return the address and its origin."""
    if address:
        return address, "--address"
    for name in _VARIABLES:
        if os.environ.get(name):
            return os.environ[name], name
    return DEFAULT_ADDRESS, "the default"


@contextmanager
def _address_in_environment(address: str) -> Iterator[None]:
    """Set Ray's variable to an address, because it wins over the argument."""
    name = _VARIABLES[0]
    before = os.environ.get(name)
    os.environ[name] = address
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _about_token(address: str, headers: dict[str, Any]) -> str:
    demand = "another token than the one found" if "Authorization" in headers else "a token"
    return f"{address} wants {demand} here. {SET_TOKEN}"
