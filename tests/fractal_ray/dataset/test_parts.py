"""Parts that do not belong to a dataset: other sweeps, foreign columns, strange rows."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.damage import set_aside
from fractal_ray.dataset.new_parts import new_parts
from fractal_ray.dataset.rows import unwritable_records
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.outcome import Outcome, RunRecord
from tests.fractal_ray.dataset.test_store import evaluation
from tests.fractal_ray.stored_datasets import GOLDEN

FACTS: dict[str, Any] = {
    "fingerprint": "f",
    "axes": {"x": {"param": "lr", "max": 1.0}, "y": {"param": "wd"}},
    "recipe": {"stretch": 1.0},
}


def dataset(folder: Path, **changed: object) -> Store:
    """Return a dataset of two rows whose `sweep.json` and parts have equal facts."""
    store = Store(str(folder), {**FACTS, **changed})
    store.write_file("sweep.json", json.dumps({**FACTS, **changed, "spec": {}}).encode())
    store.append([evaluation(1), evaluation(2)])
    return store


def only_part(folder: Path) -> Path:
    (part,) = (folder / "points").rglob("*.parquet")
    return part


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"fingerprint": "g"}, "fingerprint is 'g', that of sweep.json 'f'"),
        ({"axes": {"x": {"param": "lr", "max": 2.0}, "y": {"param": "wd"}}}, "axes is not"),
        ({"recipe": {"stretch": 1.2}}, "recipe is not"),
    ],
)
def test_a_part_of_another_sweep_is_refused_until_it_is_moved_away(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    store = dataset(tmp_path / "own")
    dataset(tmp_path / "other", **changed)
    foreign = only_part(tmp_path / "other")
    copy = only_part(tmp_path / "own").with_name(foreign.name)
    shutil.copy(foreign, copy)
    reads: tuple[Callable[[], object], ...] = (
        store.read,
        lambda: store.read(skip_corrupt=True),
        lambda: list(new_parts(store, "points", ["x"], set(), skip_corrupt=True)),
    )
    for read in reads:
        with pytest.raises(SweepError, match=words) as caught:
            read()
        (line,) = str(caught.value).splitlines()
        assert str(copy) in line
    compact(store)
    assert store.part_count() == 2, "joining would make foreign rows own ones"
    subprocess.run(line.partition("Move it away: ")[2], shell=True, check=True)
    assert store.read().num_rows == 2
    assert copy.with_name(f"{copy.name}.foreign").read_bytes() == foreign.read_bytes()


def test_one_command_moves_several_parts_with_spaces_in_their_names(tmp_path: Path) -> None:
    store = dataset(tmp_path / "the own")
    other = dataset(tmp_path / "other", fingerprint="g")
    other.append([evaluation(3)])
    for part in (tmp_path / "other" / "points").rglob("*.parquet"):
        shutil.copy(part, tmp_path / "the own/points/frame=0/level=0" / part.name)
    with pytest.raises(SweepError, match="2 of 3 parts of the dataset are not of") as caught:
        store.read()
    command = str(caught.value).partition("Move them away: ")[2]
    assert len(command.splitlines()) == 1
    subprocess.run(command, shell=True, check=True)
    assert store.read().num_rows == 2


def test_an_object_store_is_given_no_shell_command() -> None:
    store = Store("mock:///bucket/sweep", {**FACTS, "fingerprint": "g"})
    store.append([evaluation(1)])
    store.write_file("sweep.json", json.dumps({**FACTS, "spec": {}}).encode())
    with pytest.raises(SweepError, match="your object store's tools"):
        store.read()


def test_parts_of_an_equal_dataset_may_be_copied_in(tmp_path: Path) -> None:
    store = dataset(tmp_path / "a")
    # A missing key equals null, as when a run checks its folder.
    equal = dataset(tmp_path / "b", recipe={**FACTS["recipe"], "new": None})
    equal.append([evaluation(3)])
    shutil.copytree(tmp_path / "b" / "points", tmp_path / "a" / "points", dirs_exist_ok=True)
    assert sorted(store.read()["ix"].to_pylist()) == [1, 2, 3]


def test_parts_of_older_versions_are_read(tmp_path: Path) -> None:
    store = dataset(tmp_path)
    part = only_part(tmp_path)
    table = pq.ParquetFile(part).read()
    for facts in (
        {"schema_version": 1, "axes": FACTS["axes"], "fingerprint": "f"},  # no recipe
        {"schema_version": 1},  # joined by `fractal-ray compact`
    ):
        part.unlink(missing_ok=True)
        part = part.with_name("part-0.parquet")
        metadata = {b"fractal_ray": json.dumps(facts).encode()}
        pq.write_table(table.replace_schema_metadata(metadata), part)
        assert store.read().num_rows == 2
    other = table.set_column(
        table.schema.get_field_index("fingerprint"), "fingerprint", pa.array(["g", "g"])
    )
    pq.write_table(other.replace_schema_metadata(metadata), part.with_name("part-1.parquet"))
    with pytest.raises(SweepError, match=r"part-1.parquet is no part .*fingerprint is 'g'"):
        store.read()


def test_a_stored_part_of_the_first_version_has_the_facts() -> None:
    for name in ("map", "mlp", "nanochat"):
        header = json.loads((GOLDEN / name / "sweep.json").read_text())
        part = next((GOLDEN / name / "points").rglob("*.parquet"))
        facts = json.loads(pq.read_schema(part).metadata[b"fractal_ray"])
        assert facts["schema_version"] == 1
        assert (facts["fingerprint"], facts["axes"]) == (header["fingerprint"], header["axes"])


def _replaced(table: pa.Table, name: str, values: Any) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, values)


def _first_null(table: pa.Table, name: str) -> pa.Table:
    column = table.column(name).combine_chunks()
    return _replaced(table, name, pc.if_else(pa.array([True, False]), None, column))


SCHEMAS = ("missing", "text", "bytes", "list", "nested", "twice")
STRANGE: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "missing": (lambda t: t.drop_columns(["device"]), "it lacks the column device"),
    "text": (lambda t: _replaced(t, "x", pa.array(["1", "2"])), "column x has the type string"),
    "bytes": (lambda t: _replaced(t, "point_id", pa.array([b"1", b"2"])), "type binary"),
    "list": (lambda t: _replaced(t, "losses", pa.array([["a"], ["b"]])), "type list"),
    "nested": (lambda t: _replaced(t, "stage", pa.array([{"a": 1}] * 2)), "type struct"),
    "twice": (lambda t: t.append_column("x", t.column("x")), "column x 2 times"),
    **{
        f"null {name}": (lambda t, name=name: _first_null(t, name), f"{name} has 1 empty values")
        for name in ("point_id", "outcome", "seconds", "ix", "stage", "losses")
    },
    "address": (lambda t: _replaced(t, "iy", pa.array([-1, 0])), "iy has numbers that are no"),
    "large": (lambda t: _replaced(t, "ix", pa.array([2**63 - 1, 0])), "ix has numbers"),
    "outcome": (lambda t: _replaced(t, "outcome", pa.array(["<b>", ""])), "outcome has ''"),
    "stage": (lambda t: _replaced(t, "stage", pa.array(["zoom"] * 2)), "stage has 'zoom'"),
    "time": (
        lambda t: _replaced(
            t, "created_at", pa.array([2**62, 0]).cast(pa.timestamp("us", tz="UTC"))
        ),
        "created_at has times outside",
    ),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_foreign_columns_and_rows_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    store = dataset(tmp_path)
    change, words = STRANGE[kind]
    own = only_part(tmp_path)
    strange = own.with_name("part-9.parquet")
    pq.write_table(change(pq.ParquetFile(own).read()), strange)
    for read in (store.read, lambda: list(new_parts(store, "points", list("xy"), {str(own)}))):
        if (
            kind not in ("missing", "text", "bytes", "list", "nested", "twice")
            and read != store.read
        ):
            continue  # only the columns that are read are looked at
        with pytest.raises(SweepError) as caught:
            read()
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"{strange} is no part of this sweep: ")
        assert words in line
    compact(store)
    assert strange.exists()
    assert own.exists()


def test_a_part_in_no_folder_of_a_level_is_refused(tmp_path: Path) -> None:
    store = dataset(tmp_path)
    place = tmp_path / "points" / "frame=0" / "level=123456789012"
    place.mkdir()
    shutil.copy(only_part(tmp_path), place / "part-0.parquet")
    with pytest.raises(SweepError, match="its folder is not frame="):
        store.read()


def test_metadata_that_are_no_facts_are_refused(tmp_path: Path) -> None:
    store = dataset(tmp_path)
    part = only_part(tmp_path)
    table = pq.ParquetFile(part).read()
    strange = part.with_name("part-9.parquet")
    for text in (b"\xff{", b"[1]", b"[" * 100_000, None):
        pq.write_table(table.replace_schema_metadata(text and {b"fractal_ray": text}), strange)
        with pytest.raises(SweepError, match="it has no metadata of a sweep"):
            store.read()


def test_a_record_with_an_empty_value_is_not_written() -> None:
    record = RunRecord(Outcome.TRAINED, seconds=None)  # pyright: ignore[reportArgumentType]
    assert "its seconds is empty" in unwritable_records([record])[0]


def test_damaged_parts_are_set_aside_under_free_names(tmp_path: Path) -> None:
    store = dataset(tmp_path)
    part = only_part(tmp_path)
    data = bytearray(part.read_bytes())
    data[len(data) // 3] ^= 4
    for number in ("", "2"):
        part.write_bytes(data)
        (damaged,) = set_aside(store)
        assert str(damaged) == f"{part} (2 rows)"
        assert part.with_name(f"{part.name}.corrupt{number}").read_bytes() == data
        assert store.part_count() == 0
    assert set_aside(store) == []
