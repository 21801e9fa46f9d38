"""Mathematics of the advice: pure functions from a `Surface` of losses to plain results.

* `best.find_best(surface, noise)` -> `BestPoint` or `Refusal`
* `contour.safe_region(surface, best, percent)` -> `SafeRegion`
* `cliff.find_cliff(surface, node)` -> `Cliff`
* `sensitivity.sensitivities(surface, best)` -> `Sensitivity` of x, and of y
* `power_law.fit_power_law(columns, seed_noise)` -> `PowerLaw` or `Refusal`
* `seeds.label_of_seeds`, `seeds.re_estimate`, `seeds.noise_of_seeds`

Nothing here reads files, draws or runs. docs/advice.md explains each number and its limits.
"""
