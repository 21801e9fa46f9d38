"""The store: layout, other readers, parts that cannot be read, parts of older versions."""

import errno
import hashlib
import os
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.fs import FileInfo

from fractal_ray.analysis.compare.sweeps import compare
from fractal_ray.analysis.summary import analyze
from fractal_ray.dataset import parts
from fractal_ray.dataset.compaction import compact
from fractal_ray.dataset.frames_file import read_zooms
from fractal_ray.dataset.header import read_header
from fractal_ray.dataset.new_parts import new_parts
from fractal_ray.dataset.rows import POINTS_SCHEMA, Evaluation, Failure, Origin
from fractal_ray.dataset.store import Store
from fractal_ray.errors import SweepError
from fractal_ray.plane.axes import Point
from fractal_ray.plane.outcome import Outcome, RunRecord
from fractal_ray.spec.yaml_file import load_spec
from fractal_ray.sweep import Sweep
from tests.fractal_ray.sample_workloads import Broken


def origin(number: int, level: int = 0) -> Origin:
    point = Point(0, level, number, 2 * number, 0.1 * number, 0.2 * number)
    return Origin(f"{number:032x}", "0:grid", point, 1, "host", "cpu", 1, "f")


def evaluation(number: int, level: int = 0) -> Evaluation:
    losses = np.linspace(2, 1, 5, dtype=np.float32)
    return Evaluation(origin(number, level), RunRecord(Outcome.TRAINED, losses=losses, steps=5))


def test_layout_and_metadata(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "a sweep"), {"axes": {"x": "lr"}})
    store.append([evaluation(1), evaluation(2, level=1)])
    store.append_failures([Failure(origin(3), "error", "E: e", "trace", False)])
    names = sorted(p.relative_to(tmp_path / "a sweep") for p in tmp_path.rglob("*.parquet"))
    assert [str(part.parent) for part in names] == [
        "failures/frame=0/level=0",
        "points/frame=0/level=0",
        "points/frame=0/level=1",
    ]
    metadata = pq.read_schema(tmp_path / "a sweep" / names[1]).metadata[b"fractal_ray"]
    assert metadata == b'{"axes": {"x": "lr"}, "schema_version": 1}'
    assert not list(tmp_path.rglob("*.tmp"))


def test_duckdb_and_polars_open_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(number, level=number % 2) for number in range(6)])
    pattern = f"{tmp_path}/points/**/*.parquet"
    query = f"select level, count(*), sum(x) from read_parquet('{pattern}', hive_partitioning=true)"
    found = duckdb.sql(query + " group by level order by level").fetchall()
    assert [(level, count) for level, count, _ in found] == [(0, 3), (1, 3)]
    frame = pl.scan_parquet(pattern, hive_partitioning=True).filter(pl.col("level") == 1).collect()
    assert sorted(frame["ix"].to_list()) == [1, 3, 5]
    assert frame["losses"][0].to_list() == [2.0, 1.75, 1.5, 1.25, 1.0]


def test_a_corrupt_part_is_named_and_skipped_only_when_asked(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(1)])
    store.append([evaluation(2)])
    first = sorted(tmp_path.rglob("*.parquet"))[0]
    first.write_bytes(first.read_bytes()[:100])
    with pytest.raises(SweepError) as caught:
        store.read()
    assert str(first) in str(caught.value)
    assert "--skip-corrupt" in str(caught.value)
    assert "1 of 2 parts" in str(caught.value)
    assert store.read(skip_corrupt=True).column("ix").to_pylist() == [2]


def test_bad_bytes_inside_a_part_are_found_too(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(number) for number in range(50)])
    (part,) = tmp_path.rglob("*.parquet")
    data = bytearray(part.read_bytes())
    data[4:400] = bytes(396)
    part.write_bytes(bytes(data))
    with pytest.raises(SweepError, match=part.name):
        store.read()


def test_compaction_leaves_a_corrupt_part_alone(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for number in range(4):
        store.append([evaluation(number)])
    bad = sorted(tmp_path.rglob("*.parquet"))[1]
    bad.write_bytes(b"not parquet")
    compact(store)
    assert bad.exists()
    assert store.part_count() == 2
    assert sorted(store.read(skip_corrupt=True).column("ix").to_pylist()) == [0, 2, 3]


def test_a_reader_that_meets_a_compaction_sees_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    for number in range(8):
        store.append([evaluation(number)])
    listed = Store.listed
    calls = []

    def parts_then_compaction(self: Store, kind: str) -> list[FileInfo]:
        files = listed(self, kind)
        calls.append(kind)
        if len(calls) == 1:
            compact(Store(str(tmp_path)))
        return files

    monkeypatch.setattr(Store, "listed", parts_then_compaction)
    for skip_corrupt in (False, True):
        assert store.read(skip_corrupt=skip_corrupt).num_rows == 8


def test_what_the_file_system_refuses_is_not_called_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(1)])

    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "not today")

    monkeypatch.setattr(parts, "read_parts", refuse)
    with pytest.raises(PermissionError, match="not today"):
        store.read(skip_corrupt=True)


def test_no_flipped_bit_is_read_as_another_value(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(number) for number in range(20)])
    (part,) = tmp_path.rglob("*.parquet")
    rows, data = str(store.read().to_pylist()), part.read_bytes()
    draw = random.Random(19)
    refused = 0
    for trial in range(1000):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        part.write_bytes(flipped)
        os.utime(part, ns=(trial, trial))  # each trial is another file for the process
        listed = store.filesystem.get_file_info(str(part))
        refused += not parts.is_intact(store.filesystem, listed)
    assert refused == 1000
    with pytest.raises(SweepError, match=f"1 of 1 parts.*\n.*{part.name}"):
        store.read()
    assert store.read(skip_corrupt=True).num_rows == 0
    compact(store)
    assert part.read_bytes() == flipped, "a damaged part is not rewritten"
    part.write_bytes(data)
    os.utime(part, ns=(1000, 1000))
    assert str(store.read().to_pylist()) == rows


def test_parts_are_hashed_once_and_names_without_digest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(str(tmp_path)).append([evaluation(1)])
    Store(str(tmp_path), generation=3).append([evaluation(2)])
    first, second = sorted(tmp_path.rglob("*.parquet"))
    assert re.fullmatch(r"part-\d{20}-[0-9a-f]{32}\.parquet", first.name)
    assert re.fullmatch(r"part-\d{20}-g3-[0-9a-f]{32}\.parquet", second.name)
    hashed: list[int] = []
    original = hashlib.blake2b
    monkeypatch.setattr(hashlib, "blake2b", lambda **k: (hashed.append(1), original(**k))[1])
    for _ in range(2):  # each command makes another Store
        assert Store(str(tmp_path)).read().num_rows == 2
    assert len(hashed) == 2
    # Names of older versions: the digits are no digest.
    first.rename(first.with_name(f"{first.name[:25]}-0123abcd.parquet"))
    second.rename(second.with_name("part-0.parquet"))
    assert Store(str(tmp_path)).read().num_rows == 2
    assert len(hashed) == 2


def test_foreign_readers_find_page_checksums(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(number) for number in range(50)])
    (part,) = tmp_path.rglob("*.parquet")
    data = bytearray(part.read_bytes())
    start = pq.ParquetFile(part).metadata.row_group(0).column(3)
    middle = start.data_page_offset + start.total_compressed_size - 2
    data[middle] ^= 1
    part.write_bytes(data)
    with pytest.raises(OSError, match="CRC checksum"):
        pq.ParquetFile(part, page_checksum_verification=True).read()


@pytest.mark.parametrize("with_digest", [True, False])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pa.ArrowMemoryError("malloc of size 64 failed"), "not enough memory to read .* 1 parts"),
        (MemoryError("std::bad_alloc"), "not enough memory"),
        (OSError(errno.EIO, "Input/output error"), "storage of .* fails .*mount"),
    ],
)
def test_want_of_memory_and_a_failing_disk_are_no_damage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    words: str,
    *,
    with_digest: bool,
) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(1)])
    if not with_digest:
        (part,) = tmp_path.rglob("*.parquet")
        part.rename(part.with_name("part-0.parquet"))

    def refuse(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(parts, "read_parts", refuse)
    monkeypatch.setattr(pq, "ParquetFile", refuse)
    for skip_corrupt in (False, True):
        reads = (
            lambda skip=skip_corrupt: store.read(skip_corrupt=skip),
            lambda skip=skip_corrupt: list(
                new_parts(store, "points", ["x"], set(), skip_corrupt=skip)
            ),
        )
        for read in reads:
            with pytest.raises(SweepError, match=words) as caught:
                read()
            assert "delete" not in str(caught.value)
            assert "\n" not in str(caught.value)


def test_an_empty_dataset_reads_as_no_rows(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "nothing"))
    assert store.is_empty()
    assert store.read().num_rows == 0
    assert store.read(["x", "frame"]).column_names == ["x", "frame"]
    assert store.read_failures().num_rows == 0


def test_a_location_that_is_nothing(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="nosuch"):
        Store("nosuch://bucket/x")


def test_file_systems_that_are_not_local() -> None:
    store = Store("mock:///bucket/sweep")
    store.append([evaluation(1), evaluation(2)])
    store.append([evaluation(2), evaluation(3)])
    assert store.write_file("sweep.json", b"{}") == "mock:///bucket/sweep/sweep.json"
    assert store.read_text("sweep.json") == "{}"
    assert store.read(["ix"]).column("ix").to_pylist() == [1, 2, 3]
    compact(store)
    assert store.part_count() == 1
    assert sorted(store.read(["ix"]).column("ix").to_pylist()) == [1, 2, 3]


ADDED = ("deterministic", "side_by_side", "kernels")


def as_before(store: Store) -> None:
    """Rewrite the dataset as fractal-ray did before rows recorded how they were computed."""
    for part in Path(store.root).rglob("part-*.parquet"):
        if "failures" not in part.parts:
            old = part.with_name(f"{part.name[:25]}-{part.name[-16:-8]}.parquet")
            pq.write_table(pq.ParquetFile(part).read().drop_columns(list(ADDED)), old)
            if old != part:
                part.unlink()


def how_computed(store: Store) -> list[tuple[Any, ...]]:
    table = store.read(["ix", *ADDED])
    return sorted(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))


def test_a_row_says_how_it_was_computed(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    record = evaluation(2).record
    how = {"deterministic": False, "side_by_side": 4, "kernels": "compile"}
    store.append([evaluation(1), Evaluation(origin(2), replace(record, **how))])
    assert how_computed(store) == [(1, None, 1, ""), (2, False, 4, "compile")]
    types = [str(POINTS_SCHEMA.field(name).type) for name in ADDED]
    assert types == ["bool", "int32", "string"]


def test_parts_of_before_are_read_and_joined(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(1), evaluation(2), evaluation(3, level=1)])
    as_before(store)
    assert "kernels" not in pq.read_schema(next(tmp_path.rglob("*.parquet"))).names
    assert store.read(["x"]).column_names == ["x"]
    before = [(number, None, 1, "") for number in (1, 2, 3)]
    assert how_computed(store) == before
    how = {"deterministic": True, "side_by_side": 8, "kernels": "compile, cuda_graphs"}
    store.append([Evaluation(origin(4), replace(evaluation(4).record, **how))])
    every = [*before, (4, True, 8, "compile, cuda_graphs")]
    assert how_computed(store) == every
    insert = {"missing_columns": "insert", "extra_columns": "ignore"}
    _others_read_it(tmp_path, {"union_by_name": True}, insert)
    compact(store)
    assert how_computed(store) == every
    assert store.part_count() == 2
    assert store.read().schema.remove_metadata() == Store(str(tmp_path / "no")).read().schema
    _others_read_it(tmp_path, {}, {})
    times = {part: part.stat().st_mtime_ns for part in tmp_path.rglob("*.parquet")}
    compact(store)
    assert times == {part: part.stat().st_mtime_ns for part in tmp_path.rglob("*.parquet")}


def _others_read_it(folder: Path, duck: dict[str, Any], polar: dict[str, Any]) -> None:
    pattern = f"{folder}/points/**/*.parquet"
    found = duckdb.read_parquet(pattern, hive_partitioning=True, **duck)
    assert sorted(found.project("ix").fetchall()) == [(1,), (2,), (3,), (4,)]
    lazy = pl.scan_parquet(pattern, hive_partitioning=True, **polar)
    assert sorted(lazy.collect()["ix"].to_list()) == [1, 2, 3, 4]


def test_a_sweep_of_before_goes_on(make_sweep: Callable[..., Sweep]) -> None:
    """Resume, show, analyse and compare an older dataset without running its points again."""
    small, grown = [{"grid": {"points": 9}}], [{"grid": {"points": 17}}]
    make_sweep(stages=small).run("local")
    old = make_sweep(Broken(), stages=small)
    as_before(old.store())
    assert old.run("local").reused == 81
    as_before(old.store())
    points = old.points
    assert points["side_by_side"].dtype == np.int32
    assert set(points["kernels"]) == {""}
    assert set(points["deterministic"]) == {None}
    new = make_sweep(stages=grown)
    progress = new.run("local")
    assert (progress.reused, progress.done) == (81, 289)
    fresh = make_sweep(name="fresh", stages=grown)
    fresh.run("local")
    assert analyze(new)[0].outcomes == analyze(fresh)[0].outcomes
    as_before(new.store())
    found = compare(new, fresh)
    assert (found.run_in_both, found.agree.count, found.agree.total) == (289, 289, 289)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


def test_parts_that_git_lfs_did_not_fetch_are_refused_with_the_command(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.append([evaluation(1)])
    store.append([evaluation(2, level=1)])
    part = sorted(tmp_path.rglob("*.parquet"))[1]
    part.write_text(POINTER)
    message = (
        rf"1 of 2 parts .*\n.*\n1 of them .* run `git -C {re.escape(str(part.parent))} lfs pull`$"
    )
    with pytest.raises(SweepError, match=message):
        store.read()
    with pytest.raises(SweepError, match=r"is a pointer of git-lfs: .* lfs pull`$"):
        list(new_parts(store, "points", ["point_id"], set()))
    assert store.read(skip_corrupt=True).num_rows == 1


@pytest.mark.parametrize("name", ["sweep.json", "frames.json"])
def test_files_beside_the_parts_that_git_lfs_did_not_fetch_are_named(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text(POINTER)
    read = {"sweep.json": read_header, "frames.json": read_zooms}[name]
    with pytest.raises(SweepError, match=rf"{name} is a pointer of git-lfs: .* lfs pull`$"):
        read(Store(str(tmp_path)))


def test_a_spec_that_git_lfs_did_not_fetch_is_named(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(POINTER)
    with pytest.raises(SweepError, match=r"sweep\.yaml is a pointer of git-lfs: .* lfs pull`$"):
        load_spec(str(tmp_path / "sweep.yaml"))
