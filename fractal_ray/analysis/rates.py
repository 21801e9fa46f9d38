"""Nominal and effective rates: AdamW's are scaled by the width of the model."""

from collections.abc import Mapping

from fractal_ray.plane.label_rule import LabelRule
from fractal_ray.spec.sweep_spec import SweepSpec
from fractal_ray.workloads.section import SCALING


def rate_factors(spec: SweepSpec, rule: LabelRule) -> dict[str, float]:
    """Return the factors from nominal to effective rates, by swept parameter.

    Parameters without a rate, with a factor of 1, and of models of unknown width are left out.
    """
    return _scaled(_factors(spec, rule.baseline.width))


def notes_on_rates(spec: SweepSpec, rule: LabelRule) -> list[str]:
    """Return a note for each swept rate that the optimizer scales."""
    factors = _factors(spec, rule.baseline.width)
    texts = {name: f"{factor:.3g} x {name}" for name, factor in _scaled(factors).items()}
    if not factors:
        # A width of 1 scales the rates that any width scales.
        texts = {name: f"{name} x {SCALING}" for name in _scaled(_factors(spec, 1))}
    return [
        f"the rate {name} is nominal: the optimizer applies {product}"
        for name, product in texts.items()
    ]


def _factors(spec: SweepSpec, width: int | None) -> dict[str, float]:
    names = (spec.axes.x.param, spec.axes.y.param)
    rates = spec.workload.effective_rates(dict.fromkeys(names, 1.0), width)
    return {name: factor for name, factor in rates.items() if name in names}


def _scaled(factors: Mapping[str, float]) -> dict[str, float]:
    return {name: factor for name, factor in factors.items() if factor != 1.0}
