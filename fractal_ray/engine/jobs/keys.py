"""Keys of a job on their way from `submit` to the driver and its workers.

Ray writes the variables of a runtime environment into logs and shows the metadata of a job to its
clients, so the keys travel in the metadata, sealed with the cluster's token.
"""

import hashlib
import hmac
import json
import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping

from fractal_ray.engine.jobs.auth_token import auth_token
from fractal_ray.errors import SweepError

SEALED_KEYS = "fractal_ray_keys"
"""Name of the metadata entry that holds the sealed keys."""

_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # where Ray gives a driver the metadata of its job
_NONCE, _TAG = 16, 32  # bytes
_keys_of_job: dict[str, str] = {}


def seal(keys: Mapping[str, str], token: str | None) -> str:
    """Encrypt environment variables with the token of a cluster; without one they are only coded.

    The text is the base64 form of a nonce, the SHA-256 HMAC of nonce and cipher text, and the
    cipher text: JSON, combined by XOR with a stream of SHAKE-256 from key and nonce.
    """
    nonce = secrets.token_bytes(_NONCE)
    cipher = _combined(json.dumps(dict(keys)).encode(), token, nonce)
    return b64encode(nonce + _tag(token, nonce + cipher) + cipher).decode()


def unseal(text: str, token: str | None) -> dict[str, str]:
    """Decrypt environment variables that `seal` encrypted with this token, or without a token.

    Raises
    ------
    SweepError
        When the text was sealed with another token, or is damaged.
    """
    try:
        sealed = b64decode(text)
    except ValueError:
        sealed = b""
    nonce, tag, cipher = sealed[:_NONCE], sealed[_NONCE : _NONCE + _TAG], sealed[_NONCE + _TAG :]
    for secret in dict.fromkeys((token, None)):
        if hmac.compare_digest(tag, _tag(secret, nonce + cipher)):
            return json.loads(_combined(cipher, secret, nonce))
    raise SweepError(
        "the keys that came with this job are sealed with another token than the one of its"
        " driver. Submit with the token that the head node was started with, and set"
        " RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH there before `ray start`"
    )


def _secret(token: str | None, purpose: str) -> bytes:
    return hmac.digest((token or "").encode(), f"fractal-ray keys: {purpose}".encode(), "sha256")


def _tag(token: str | None, content: bytes) -> bytes:
    return hmac.digest(_secret(token, "tag"), content, "sha256")


def _combined(content: bytes, token: str | None, nonce: bytes) -> bytes:
    stream = hashlib.shake_256(_secret(token, "stream") + nonce).digest(len(content))
    return bytes(a ^ b for a, b in zip(content, stream, strict=True))


def take_keys() -> None:
    """Set the keys that came with the job of this process, and take them out of Ray's sight.

    Ray copies the metadata into the job's configuration, which every worker gets.
    """
    job = json.loads(os.environ.get(_JOB) or "{}")
    sealed = job.get("metadata", {}).pop(SEALED_KEYS, None)
    if sealed is None:
        return
    os.environ[_JOB] = json.dumps(job)
    _keys_of_job.update(unseal(sealed, auth_token()))
    os.environ.update(_keys_of_job)


def keys_of_job() -> dict[str, str]:
    """Return the keys that came with the job of this process; workers need them too."""
    return dict(_keys_of_job)
