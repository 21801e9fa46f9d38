"""The conformance suite: functions pass it, and those that keep something fail it."""

from pathlib import Path

import pytest

from fractal_ray.testing import check_workload
from tests.fractal_ray.workloads.function.conftest import MakeSweep, points_of, write

GOOD = """
import random, numpy
from shared import Data
def prepare(): return Data()
def train(params, shared, seed):
    numpy.seterr(all="raise")
    loss = 2.0 * shared.x.sum() * params["decay"]
    for step in range(30):
        yield loss if params["lr"] < 0.01 or step < 7 else float("inf")
        loss *= 1 + params["lr"] + 0.01 * random.random() + 0.01 * numpy.random.rand()
"""
BROKEN = {
    "a global": (
        "runs = 0\ndef train(params):\n    global runs\n    runs += 1\n"
        "    return [1.0, params['lr'] + runs]\n"
    ),
    "its own generator": (
        "import numpy\nrng = numpy.random.default_rng(0)\n"
        "def train(params):\n    return [1.0, params['lr'] + rng.random()]\n"
    ),
    "a list": (
        "seen = []\ndef train(params):\n    seen.append(params['lr'])\n"
        "    return [1.0, sum(seen) + len(seen)]\n"
    ),
    "an unseeded generator": (
        "import os\ndef train(params):\n    return [1.0, params['lr'] + os.urandom(1)[0]]\n"
    ),
    "a batch": (
        "def train(params): ...\n"
        "def batch(params): return [[1.0, p['lr'] + len(params)] for p in params]\n"
        "train.batch = batch\n"
    ),
}


def test_a_function_passes(make_sweep: MakeSweep, tmp_path: Path) -> None:
    write(tmp_path, shared="import numpy\nclass Data:\n    x = numpy.ones(3)\n")
    sweep = make_sweep(GOOD)
    points = points_of(sweep)
    check_workload(sweep.workload(), points, diverging=[p for p in points if p.x > 0.01])


def test_a_batch_passes(make_sweep: MakeSweep) -> None:
    text = """
    def train(params): ...
    def batch(params): return [[1.0 + p["lr"], p["decay"]] for p in params]
    train.batch = batch
    """
    sweep = make_sweep(text)
    check_workload(sweep.workload(), points_of(sweep))


@pytest.mark.parametrize("kind", BROKEN)
def test_a_function_that_keeps_something_fails(make_sweep: MakeSweep, kind: str) -> None:
    sweep = make_sweep(BROKEN[kind])
    with pytest.raises(AssertionError, match=r"RunRecord|before or beside it|gives equal records"):
        check_workload(sweep.workload(), points_of(sweep))
