"""States of the optimizers between fine-tunes, and when a stack loses copies."""

from collections.abc import Iterable, Sequence

from torch.optim import Optimizer

from nanochat.train.optim.muon import Muon


def reset_optimizers(optimizers: Iterable[Optimizer]) -> None:
    """Set the states of the optimizers to zero in place, as before the first step."""
    for optimizer in optimizers:
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()


def keep_copies(optimizers: Iterable[Optimizer], chosen: Sequence[int]) -> None:
    """Make the chosen copies of a stack the first ones, with their states and rates.

    Parameters
    ----------
    chosen
        Numbers of copies, ascending.
    """
    for optimizer in optimizers:
        if isinstance(optimizer, Muon):
            for group in optimizer.param_groups:
                group["initial_lr"] = [group["initial_lr"][copy] for copy in chosen]
            for state in optimizer.state.values():
                buffer = state["momentum_buffer"]
                buffer[: len(chosen)] = buffer[list(chosen)]
        else:
            _move_groups(optimizer, chosen)


def _move_groups(adamw: Optimizer, chosen: Sequence[int]) -> None:
    groups = {(group["name"], group["copy"]): group for group in adamw.param_groups}
    for (name, copy), target in groups.items():
        if copy >= len(chosen) or chosen[copy] == copy:
            continue
        source = groups[name, chosen[copy]]
        target.update({key: source[key] for key in ("initial_lr", "weight_decay")})
        moved = adamw.state[source["params"][0]]
        for key, value in adamw.state[target["params"][0]].items():
            value.copy_(moved[key])
