"""A driver in a process of its own: ``python -m tests.cluster.drive ADDRESS STORAGE``."""

import sys

from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep
from tests.cluster.conftest import STAGES
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.sample_workloads import Disc


def main(address: str, storage: str) -> int:
    """Run the sweep `driven`; return 2 if it is refused."""
    spec = parse_spec(raw_spec(name="driven", stages=STAGES, storage=storage, points_per_tile=2))
    try:
        Sweep(spec, Disc(seconds=0.05)).run("ray", address=address)
    except SweepError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
