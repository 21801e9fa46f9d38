"""fractal-ray: how far can a fine-tune be pushed before it breaks?

``fractal_ray.load("results/quickstart")`` opens a sweep in Python or a notebook; ``fractal-ray
--help`` does the same from a shell. Nothing heavy is imported here, so that ``import fractal_ray``
is quick.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from fractal_ray.sweep import Sweep

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(path: "str | Path", *settings: str) -> "Sweep":
    """Open a sweep: the folder of its dataset, or the YAML of its spec.

    Parameters
    ----------
    path
        Folder with `sweep.json` in it, a URI that pyarrow knows, or a YAML file; with the latter
        nothing need have been run yet.
    settings
        ``"label.threshold=1.0"``: dotted key of the spec, then a YAML value, as after ``--set``.

    Returns
    -------
    Sweep
        With `points`, `map()`, `dimension()`, `figure()`, `run()` and `zoom()`.

    Raises
    ------
    fractal_ray.errors.SweepError
        When there is no sweep, saying what there is, or the spec is not valid.
    """
    from fractal_ray.loading import load as opened

    return opened(path, *settings)
