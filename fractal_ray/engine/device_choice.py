"""The device of the slots where the spec names none: `resources.gpu` is not set."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fractal_ray.errors import SweepError
from fractal_ray.spec.resources import WHOLE_CARD
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.base import CardByDefault, Prepared, Workload

MOST_ON_CPUS = 50_000_000
"""Parameters of a model above which runs on CPUs must be requested: each would take hours."""


@dataclass(frozen=True)
class Cards:
    """Cards that a sweep could use.

    Parameters
    ----------
    present
        Number of cards on the nodes there are, or on this machine.
    can_come
        Reason for which nodes with cards may still join; empty if none can.
    """

    present: float
    can_come: str = ""


def local_cards(workload: Workload) -> Cards:
    """Return the cards of this machine, for a sweep in this process."""
    if not isinstance(workload, CardByDefault):  # which may not need torch at all
        return Cards(len(list(Path("/dev").glob("nvidia[0-9]*"))))
    import torch

    return Cards(torch.cuda.device_count() if torch.cuda.is_available() else 0)


def with_device(
    spec: SweepSpec,
    workload: Workload,
    prepared: Prepared,
    cards: Cards,
    say: Callable[[str], None],
) -> SweepSpec:
    """Return the spec with `resources.gpu` set.

    Unset, slots of fine-tunes take a whole card each where there are cards, and those of other
    workloads a CPU. A dataset is resumed with the number that it was begun with
    (`analysis.sweep_data.with_device_of_dataset`).

    Parameters
    ----------
    spec, workload, prepared
        The sweep, and its workload with the data of `prepare`.
    cards
        Cards that the sweep could use.
    say
        Called with one line about the choice.

    Raises
    ------
    SweepError
        If fine-tunes should wait for a card, or the workload has settings for a GPU only.
    """
    if spec.resources.gpu is not None:
        return spec
    takes_card = isinstance(workload, CardByDefault) and bool(cards.present)
    if isinstance(workload, CardByDefault) and not takes_card:
        _refuse_without_card(workload.parameters(prepared.shared), cards)
        say("no card here: the fine-tunes run on the CPU")
    elif not takes_card and cards.present and spec.workload.can_use_card:
        one = cards.present == 1
        count = "1 card" if one else f"{cards.present:g} cards"
        say(f"{count} idle; resources.gpu: 1 uses {'it' if one else 'them'}")
    gpu = WHOLE_CARD if takes_card else 0.0
    resources = spec.resources.model_copy(update={"gpu": gpu})
    chosen = spec.model_copy(update={"resources": resources})
    try:
        chosen.workload.check(chosen.planned_runs)
    except ValueError as error:
        raise SweepError(str(error)) from error
    return chosen


def _refuse_without_card(parameters: int, cards: Cards) -> None:
    """Refuse to run on CPUs where cards can still come, or the model is too large for CPUs."""
    if cards.can_come:
        reason = f"no node has a card now, and {cards.can_come}"
    elif parameters > MOST_ON_CPUS:
        reason = f"the model has {parameters:,} parameters, and there is no card"
    else:
        return
    raise SweepError(
        f"{reason}. Choose: --set resources.gpu=1 takes a card for each slot (with a number of"
        " resources.slots the sweep waits for nodes that have them), --set resources.gpu=0 runs on"
        " CPUs"
    )
