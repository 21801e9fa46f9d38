"""The token of a cluster, from the places where Ray looks for it."""

import os
from pathlib import Path

from fractal_ray.errors import SweepError

SET_TOKEN = (
    "Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a copy of the token file of the cluster's head"
    " node (~/.ray/auth_token there)"
)


def auth_token() -> str | None:
    """Return the token of this process; None without one, or if RAY_AUTH_MODE is ``disabled``.

    Raises
    ------
    SweepError
        When the token is missing although RAY_AUTH_MODE is ``token``, or cannot be read.
    """
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    if mode == "disabled":
        return None
    if token := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return token
    location = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(location) if location else Path.home() / ".ray" / "auth_token"
    if not location and not path.is_file():
        if mode == "token":
            raise SweepError(f"RAY_AUTH_MODE is token, and no token is here. {SET_TOKEN}")
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"the token in {path} cannot be read: {error}") from error
