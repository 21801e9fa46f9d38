"""Conformance suites for authors of workloads and planners (docs/extending.md).

`check_workload` and `check_planner` test the contracts of `fractal_ray/workloads/base.py` and
`fractal_ray/planners/base.py`. A check that fails raises AssertionError with the rule, what was
found and what is allowed.
"""

from fractal_ray.testing.check_planner import check_planner
from fractal_ray.testing.check_workload import check_workload
from fractal_ray.testing.contract import CONTRACT

__all__ = ["CONTRACT", "check_planner", "check_workload"]
