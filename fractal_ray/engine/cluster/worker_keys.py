"""Keys that workers get from the driver: as arguments of calls, never in a runtime environment.

Ray writes the variables of runtime environments into its logs, and Tune puts keys of AWS there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fractal_ray.engine.jobs.keys import keys_of_job

_FROM_TUNE = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
)


def worker_keys() -> dict[str, str]:
    """Return the keys of this process's job, and those that Tune would pass to workers."""
    keys = {name: os.environ[name] for name in _FROM_TUNE if name in os.environ}
    return {**keys, **keys_of_job()}


@contextmanager
def tune_without_keys() -> Iterator[None]:
    """Keep Tune from putting keys of AWS into the runtime environments of trials."""
    from ray.tune.execution import class_cache

    module: Any = class_cache
    before = module.ENV_VARS_TO_PROPAGATE
    module.ENV_VARS_TO_PROPAGATE = before - set(_FROM_TUNE)
    try:
        yield
    finally:
        module.ENV_VARS_TO_PROPAGATE = before
