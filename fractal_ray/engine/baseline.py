"""The losses of the untouched model of a dataset: measured once, kept beside the rows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fractal_ray.dataset.baseline_file import BASELINE, write_baseline
from fractal_ray.dataset.driver_lease import hold_lease
from fractal_ray.dataset.header import read_header
from fractal_ray.dataset.store import Store
from fractal_ray.engine.claim import check_fingerprint
from fractal_ray.errors import SweepError
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import Baselined, Prepared, Workload


def add_baseline(
    spec: SweepSpec,
    store: Store,
    workload: Workload,
    prepared: Prepared,
    say: Callable[[str], None],
) -> bool:
    """Measure and write the losses of the untouched model where the dataset lacks them.

    Parameters
    ----------
    spec, workload, prepared
        The sweep, and its workload with the data of `prepare`.
    store
        The dataset, held by this driver.
    say
        Called with a line of text before a long step.

    Returns
    -------
    bool
        True if the file was written. False where it was there before, or the workload cannot
        evaluate an untouched model.
    """
    if not isinstance(workload, Baselined) or store.read_text(BASELINE) is not None:
        return False
    device = "cuda" if spec.resources.gpu else "cpu"
    baseline = workload.baseline(prepared.shared, device, say)
    finite = {key: curve for key, curve in baseline.curves.items() if np.isfinite(curve).all()}
    if len(finite) < len(baseline.curves):
        say(
            "the untouched model has losses that are not finite; runs on these batches are judged"
            " by their first loss"
        )
        baseline = replace(baseline, curves=finite)
    if not baseline.curves and baseline.val_loss is None:
        return False
    write_baseline(store, baseline)
    return True


def evaluate_untouched(
    spec: SweepSpec, location: str, workload: Workload, say: Callable[[str], None]
) -> None:
    """Add the losses of the untouched model to a dataset that was made without them.

    Parameters
    ----------
    spec, location, workload
        The sweep, its dataset, and the workload that loads the model.
    say
        Called with a line of text before a long step.

    Raises
    ------
    SweepError
        If there is no dataset, it was made with another model or other data, another driver holds
        it, or the workload has no untouched model.
    """
    store = Store(location)
    if read_header(store) is None:
        raise SweepError(f"{location} holds no sweep yet; `fractal-ray run` measures the baseline")
    if not isinstance(workload, Baselined):
        raise SweepError(
            f"--baseline evaluates a model, and a workload {spec.workload.kind_name()} has none to"
            " load; its first losses are used"
        )
    if store.read_text(BASELINE) is not None:
        say(f"{location} has the losses of the untouched model already, in {BASELINE}")
        return
    if spec.workload.loading_note:
        say(spec.workload.loading_note)
    prepared = workload.prepare()
    check_fingerprint(store, prepared.fingerprint)
    with hold_lease(store):
        if not add_baseline(spec, store, workload, prepared, say):
            say(
                "no loss of the untouched model could be computed; the first loss of each run"
                " stands in for it"
            )
