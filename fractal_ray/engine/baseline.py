"""The losses of the untouched model of a dataset: measured once, kept beside the rows."""

from collections.abc import Callable

from fractal_ray.dataset.baseline_file import BASELINE, write_baseline
from fractal_ray.dataset.store import Store
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
    if not baseline.curves and baseline.val_loss is None:
        return False
    write_baseline(store, baseline)
    return True
