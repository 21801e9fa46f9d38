"""Files beside the parts that are damaged, storage that does not answer, and odd places."""

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import read_sheet, sheet_path
from fractal_ray.dataset import driver_lease
from fractal_ray.dataset.store import Store
from fractal_ray.errors import StorageError, SweepError
from fractal_ray.spec.yaml_file import parse_spec
from fractal_ray.sweep import Sweep, load
from tests.fractal_ray.conftest import raw_spec

GOLDEN = Path(__file__).parents[2] / "golden" / "datasets"


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a copy of a dataset with zooms and a sheet."""
    return Path(shutil.copytree(GOLDEN / "nanochat", tmp_path / "nanochat"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"spec": "\xe4"}', "is not UTF-8 text (byte 10 is 0xe4); restore it from a copy"),
        (b'{"spec": ' * 5000, "is nested too deeply; restore it from a copy"),
        (b"9" * 5000, "is damaged"),
        (b'{"spec": {"stages": 3}}', "is damaged (spec.stages is 3); restore it"),
        (b'{"spec": {"stages": [3]}}', "is damaged (spec.stages.0 is 3)"),
        (b'{"spec": {}, "created_at": "monday"}', "is damaged (Invalid isoformat"),
        (b'{"spec": {}, "recipe": []}', "is damaged (recipe is [])"),
    ],
    ids=lambda each: str(each)[:20],
)
def test_a_damaged_header_is_one_line(dataset: Path, content: bytes, words: str) -> None:
    (dataset / "sweep.json").write_bytes(content)
    with pytest.raises(SweepError) as refusal:
        load(dataset)
    assert str(refusal.value).startswith(f"{dataset}/sweep.json {words}")
    assert len(str(refusal.value)) < 600


def test_a_file_that_is_larger_than_any_that_is_written_is_not_read(dataset: Path) -> None:
    with (dataset / "sweep.json").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(SweepError, match=r"sweep\.json is damaged \(1,099,511,627,776 bytes"):
        load(dataset)


@pytest.mark.parametrize(
    ("key", "value"),
    [("frame", "x"), ("cells", [1e400, 3]), ("rule", []), ("seed", None), ("factor", "2"),
     ("label", 3), ("axes", {"x": {"param": []}}), ("centre", {"fx": 1})],
)  # fmt: skip
def test_a_wrong_type_in_the_frames_is_named(tmp_path: Path, key: str, value: Any) -> None:
    shutil.copytree(GOLDEN / "zooms", tmp_path / "zooms")
    file = tmp_path / "zooms" / "frames.json"
    content = json.loads(file.read_text())
    content["zooms"][0][key] = value
    file.write_text(json.dumps(content))
    with pytest.raises(SweepError, match=r"frames\.json is damaged \(.*\); restore it"):
        _ = load(tmp_path / "zooms").frames


def test_frames_that_are_no_text_or_nested_deeply_are_refused(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "zooms", tmp_path / "zooms")
    for content, words in ((b'{"\xff', "is not UTF-8 text"), (b"[" * 9999, "is nested too deep")):
        (tmp_path / "zooms" / "frames.json").write_bytes(content)
        with pytest.raises(SweepError, match=rf"frames\.json {words}"):
            _ = load(tmp_path / "zooms").frames


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of the plain values in a JSON value."""
    if not isinstance(value, dict | list):
        return [at]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [place for key, each in items for place in places(each, (*at, key))]


def test_a_sheet_with_a_value_of_another_type_counts_as_missing(dataset: Path) -> None:
    sweep = Sweep.open(str(dataset))
    data = read_frame(sweep)
    file = Path(sheet_path(sweep, data.lattice.frame.id))
    whole = file.read_text()
    assert read_sheet(data) is not None
    damaged = 0
    for place in places(json.loads(whole)):
        if place[0] not in ("evidence", "verdict", "reasons"):
            continue
        sheet = inner = json.loads(whole)
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = {"odd": []}
        file.write_text(json.dumps(sheet))
        assert read_sheet(data) is None, place
        damaged += 1
    assert damaged > 40
    endless = json.dumps({**json.loads(whole), "dimension": 10**400}).encode()
    for content in (b"\xff", b"[" * 9999, b"3", b"[]", b'{"evidence": 3}', endless):
        file.write_bytes(content)
        assert read_sheet(data) is None


def test_a_damaged_driver_record_is_no_driver(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with driver_lease.hold_lease(store):
        pass
    file = tmp_path / "driver.json"
    whole = json.loads(file.read_text())
    assert driver_lease.read(store) is not None
    for key in whole:
        file.write_text(json.dumps({**whole, key: {"odd": []}}))
        assert driver_lease.read(store) is None, key
    file.write_text(json.dumps({**whole, "renewed": 10**400}))
    assert driver_lease.read(store) is None
    for content in (b"\xff", b"[" * 9999, b"9" * 5000):
        file.write_bytes(content)
        assert driver_lease.read(store) is None


class BrokenDisk(pafs.LocalFileSystem):
    """A file system that fails as a broken disk does."""

    def get_file_info(self, *arguments: Any) -> Any:
        raise OSError(5, "Input/output error")


def test_a_disk_that_fails_is_one_line_and_still_an_error_to_wait_for(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.filesystem = BrokenDisk()
    for read in (lambda: store.read_text("sweep.json"), lambda: store.parts("points"),
                 lambda: store.names("drivers"), store.is_empty, store.state):  # fmt: skip
        with pytest.raises(
            StorageError, match=r"does not answer .*: Input/output error\."
        ) as error:
            read()
        assert isinstance(error.value, OSError) and error.value.errno == 5


@pytest.mark.slow  # pyarrow tries for six seconds
def test_an_object_store_that_refuses_connections_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as held:  # bound and not listening: connections are refused
        held.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "none")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "none")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        place = f"s3://bucket/sweep?endpoint_override={endpoint}&scheme=http&region=us-east-1"
        with pytest.raises(StorageError, match=r"does not answer as it should"):
            load(place)


@pytest.mark.parametrize(
    "storage", ["a\0b", "~nobody-of-that-name/x", "n" * 5000, "deep/" * 2000 + "x"]
)
def test_a_storage_that_no_path_can_be_is_refused(storage: str) -> None:
    with pytest.raises(SweepError, match="cannot be used as a path") as refusal:
        Sweep(parse_spec(raw_spec(storage=storage)))
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x", "n" * 5000])
def test_a_path_that_no_path_can_be_is_refused(path: str) -> None:
    for open_it in (load, Sweep.open):
        with pytest.raises(SweepError, match="cannot be used as a path"):
            open_it(path)
