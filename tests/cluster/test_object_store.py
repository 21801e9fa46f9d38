"""Datasets on an object store: an S3 endpoint on loopback, which fails for a while."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer

from fractal_ray.dataset.store import Store, inside
from fractal_ray.errors import SweepError
from fractal_ray.sweep import Sweep
from tests.cluster.conftest import Nodes, contents
from tests.fractal_ray.sample_workloads import Disc

Maker = Callable[..., Sweep]


class Endpoint:
    """An S3 server that can go away and come back with everything it had."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """Serve an endpoint with the bucket `bucket` that the environment names."""
    server = Endpoint()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server.url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    pafs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{server.port}", scheme="http", allow_bucket_creation=True
    ).create_dir("bucket")
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.usefixtures("endpoint")
def test_the_same_dataset_as_in_a_folder(make_sweep: Maker, expected: list[dict[str, Any]]) -> None:
    sweep = make_sweep(name="s", storage="s3://bucket/sweeps")
    sweep.run("local")
    assert contents(sweep) == expected
    again = Sweep.open("s3://bucket/sweeps/s")
    assert contents(again) == expected
    parts = again.store().parts("points")
    assert len(parts) == len({part.rpartition("/")[0] for part in parts})
    assert again.store().read_text("driver.json") is None
    assert len(again.store().names("drivers")) == 1
    assert make_sweep(name="s", storage="s3://bucket/sweeps").run("local").reused == len(expected)


def test_endpoint_and_region_may_be_in_the_location(
    make_sweep: Maker,
    expected: list[dict[str, Any]],
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    query = f"?endpoint_override=127.0.0.1:{endpoint.port}&scheme=http&region=us-east-1"
    sweep = make_sweep(name="q", storage=f"s3://bucket/sweeps{query}")
    sweep.run("local")
    assert sweep.location == f"s3://bucket/sweeps/q{query}"
    assert contents(Sweep.open(sweep.location)) == expected
    assert inside(sweep.location, "verify") == f"s3://bucket/sweeps/q/verify{query}"


@pytest.mark.usefixtures("endpoint")
def test_a_second_driver_is_refused(make_sweep: Maker) -> None:
    sweep = make_sweep(name="two", storage="s3://bucket/sweeps")
    other = {
        "token": "x",
        "host": "node-7",
        "pid": 7,
        "user": "ann",
        "machine": "there",
        "started": "1",
        "since": time.time(),
        "renewed": time.time(),
    }
    sweep.store().put("driver.json", json.dumps(other).encode())
    with pytest.raises(SweepError, match="process 7 of ann on node-7"):
        sweep.run("local")


def test_an_endpoint_that_is_away_for_a_while(
    make_sweep: Maker, expected: list[dict[str, Any]], endpoint: Endpoint
) -> None:
    sweep = make_sweep(
        Disc(seconds=0.03), name="a", storage="s3://bucket/sweeps", points_per_tile=3
    )
    away = threading.Event()
    troubles = []

    def view(progress: Any) -> None:
        troubles.append(progress.trouble)
        if not away.is_set() and Store(sweep.location).part_count():
            away.set()
            endpoint.stop()
            threading.Timer(12, endpoint.start).start()

    sweep.run("local", view=view)
    assert away.is_set()
    assert any("storage refuses" in trouble for trouble in troubles)
    assert contents(sweep) == expected


@pytest.mark.slow
def test_workers_of_a_cluster_need_nothing_of_it(
    nodes: Nodes, make_sweep: Maker, expected: list[dict[str, Any]], endpoint: Endpoint
) -> None:
    # The nodes were started before the endpoint was in the environment.
    nodes.add()
    sweep = make_sweep(name="c", storage="s3://bucket/sweeps")
    sweep.run("ray")
    assert contents(sweep) == expected
