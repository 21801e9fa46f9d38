"""Files and settings that `submit` ships or refuses; tests/cluster/test_jobs.py has the cluster."""

import contextlib
import http.server
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ray._raylet import AuthenticationTokenLoader, Config
from ray.job_submission import JobStatus

from fractal_ray.cli.main import main
from fractal_ray.engine.jobs import client as job_client
from fractal_ray.engine.jobs import keys as keys_of_jobs
from fractal_ray.engine.jobs import package
from fractal_ray.engine.jobs import submit as jobs
from fractal_ray.engine.jobs.client import connect
from fractal_ray.engine.jobs.keys import SEALED_KEYS, seal, take_keys, unseal
from fractal_ray.engine.jobs.own_code import PACKAGES
from fractal_ray.engine.jobs.package import Shipment, describe, gather, offenders, write_package
from fractal_ray.engine.jobs.request import JobRequest, check_id, job_environment, passed_names
from fractal_ray.errors import SweepError
from fractal_ray.spec.yaml_file import load_spec
from tests.fractal_ray.conftest import raw_spec

KEPT = ("--storage", "s3://bucket/sweeps")
ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "nanochat_tiny"
DATASETS = ROOT / "tests" / "golden" / "datasets"
GIT = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *GIT, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a git repository with one tracked spec the current folder."""
    folder = tmp_path / "my sweeps"
    (folder / "specs").mkdir(parents=True)
    (folder / "specs" / "disc.yaml").write_text(yaml.safe_dump(raw_spec()))
    git(folder, "init", "-q")
    git(folder, "add", ".")
    monkeypatch.chdir(folder)
    for name in ("WANDB_API_KEY", "HF_TOKEN", "AWS_ACCESS_KEY_ID", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def submit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Return ``submit(...)``: run the command in this process; give exit code and stderr."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["fractal-ray", "submit", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert printed.out == ""
        assert isinstance(ended.value.code, int | None)
        return ended.value.code or 0, printed.err

    return call


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Shipment]]:
    """Return the list of all packages that `submit` writes."""
    written: list[Shipment] = []

    def record(shipment: Shipment, path: Path, limit: int) -> int:
        written.append(shipment)
        return write_package(shipment, path, limit)

    monkeypatch.setattr(package, "write_package", record)
    yield written


def besides_code(shipment: Shipment) -> set[str]:
    """Return the names of the shipped files that are not of the two packages."""
    return {name for name in shipment.sizes if name.partition("/")[0] not in PACKAGES}


names = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
trees = st.dictionaries(names.map(lambda name: f"{name}.txt"), st.binary(max_size=50), max_size=8)


@settings(max_examples=8)
@given(tracked=trees, changed=trees, untracked=trees, data=st.data())
def test_a_package_is_the_tracked_files_as_they_are_here(
    tracked: dict[str, bytes], changed: dict[str, bytes], untracked: dict[str, bytes], data: Any
) -> None:
    untracked = {name: text for name, text in untracked.items() if name not in tracked}
    deleted = data.draw(st.sets(st.sampled_from(sorted(tracked)))) if tracked else set()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        root = Path(folder).resolve()
        git(root, "init", "-q")
        write_all(root, tracked)
        git(root, "add", ".")
        expected = tracked | {n: text for n, text in changed.items() if n in tracked}
        write_all(root, expected)
        write_all(root, untracked)
        for name in deleted:
            (root / name).unlink()
            del expected[name]

        with mock.patch("fractal_ray.engine.jobs.package.installed_files", return_value={}):
            shipment, again = gather(["."]), gather(["."])
        assert shipment.root == root
        assert set(shipment.untracked) == set(untracked)
        first, second = root / ".git" / "1.zip", root / ".git" / "2.zip"
        assert write_package(shipment, first, 1 << 20) == first.stat().st_size
        write_package(again, second, 1 << 20)
        assert first.read_bytes() == second.read_bytes()
        with zipfile.ZipFile(first) as package:
            assert {name: package.read(name) for name in package.namelist()} == expected


def write_all(root: Path, files: dict[str, bytes]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text)


@given(sizes=st.dictionaries(names.map(lambda name: f"{name}.txt"), st.integers(0, 1000)))
def test_offenders_count_every_byte_once(sizes: dict[str, int]) -> None:
    found = offenders(sizes, count=1000)
    assert sum(size for _, size in found) == sum(sizes.values())
    assert [size for _, size in found] == sorted((size for _, size in found), reverse=True)
    for path, size in found:
        below = [n for name, n in sizes.items() if name == path or name.startswith(path)]
        assert sum(below) == size
        if path.endswith("/"):
            assert max(below) * 2 <= size


def test_offenders_name_what_is_to_blame() -> None:
    parts = {f"data/run/points/part-{i}.parquet": 100 for i in range(50)}
    sizes = {"a.py": 10, "data/readme": 5, "models/x/w.pt": 4000, **parts}
    assert offenders(sizes, 3) == [
        ("data/run/points/", 5000),
        ("models/x/w.pt", 4000),
        ("a.py", 10),
    ]


def test_a_large_package_is_refused_before_anything_is_sent(
    repository: Path, submit: Callable[..., tuple[int, str]]
) -> None:
    (repository / "weights.pt").write_bytes(os.urandom(3 << 20))
    # Nobody listens on port 1: a connection would be another message.
    command = ("specs/disc.yaml", "--include", "weights.pt")
    code, said = submit(*command, "--limit", "2", "--address", "http://127.0.0.1:1", "--", *KEPT)
    assert code == 2
    assert "3.0 MiB  weights.pt" in said
    assert "larger than 2.0 MiB, nothing was sent" in said
    assert "git rm --cached" in said
    code, said = submit(*command, "--limit", "5", "--dry-run", "--", *KEPT)
    assert code == 0, said


def test_untracked_files_stay_unless_included(
    repository: Path, submit: Callable[..., tuple[int, str]]
) -> None:
    shutil.copy("specs/disc.yaml", "specs/new.yaml")
    code, said = submit("specs/new.yaml", "--dry-run", "--", *KEPT)
    assert code == 2
    assert "spec specs/new.yaml would not be shipped; git add specs/new.yaml" in said
    code, said = submit("specs/new.yaml", "--dry-run", "--include", "specs", "--", *KEPT)
    assert code == 0
    assert "not shipped" not in said
    code, said = submit("specs/disc.yaml", "--dry-run", "--include", "nowhere", "--", *KEPT)
    assert (code, "no such file or folder" in said) == (2, True)
    code, said = submit("specs/disc.yaml", "--dry-run", "--include", "..", "--", *KEPT)
    assert (code, "only what lies in" in said) == (2, True)
    outside = repository.parent / "outside.yaml"
    shutil.copy("specs/disc.yaml", outside)
    code, said = submit(str(outside), "--dry-run", "--", *KEPT)
    assert (code, "lies outside of" in said) == (2, True)


def test_links_out_of_the_repository_are_refused_by_name(
    repository: Path, submit: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "credentials").write_text("SECRET")
    (outside / "deeper").symlink_to(repository.parent)
    notes, data = repository / "notes.txt", repository / "data"
    data.symlink_to(outside)
    named = ("--set", "workload.model=notes.txt")
    for target in (outside / "credentials", repository / ".git" / "config"):
        notes.unlink(missing_ok=True)
        notes.symlink_to(target)
        git(repository, "add", "notes.txt")
        code, said = submit("specs/disc.yaml", "--dry-run", "--", *KEPT, *named)
        assert (code, f"links lead out of {repository}:\n  notes.txt -> {target}" in said) == (
            2,
            True,
        )
        assert "git rm --cached PATH" in said
        code, said = submit("specs/disc.yaml", "--dry-run", "--include", ".", "--", *KEPT)
        assert (code, f"  notes.txt -> {target}" in said) == (2, True)
        code, said = submit("specs/disc.yaml", "--dry-run", "--include", "notes.txt", "--", *KEPT)
        assert code == 0, said
        assert f"shipped as the files that they lead to: notes.txt -> {target}" in said
    git(repository, "rm", "--cached", "-q", "notes.txt")
    notes.unlink()
    code, said = submit("specs/disc.yaml", "--dry-run", "--include", "data", "--", *KEPT)
    assert code == 0, said
    (outside / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_text("SECRET")
    code, said = submit("specs/disc.yaml", "--dry-run", "--include", "data", "--", *KEPT)
    assert (code, f"  data/more -> {tmp_path / 'elsewhere'}" in said) == (2, True)


def test_links_inside_the_repository_are_shipped_as_their_content(repository: Path) -> None:
    Path("specs/same.yaml").symlink_to("disc.yaml")
    Path("all").symlink_to("specs")
    git(repository, "add", ".")
    shipment = gather(["specs"], ["all"])
    assert shipment.links == {
        "all/disc.yaml": "specs/disc.yaml",
        "all/same.yaml": "specs/disc.yaml",
        "specs/same.yaml": "specs/disc.yaml",
    }
    write_package(shipment, repository / ".git" / "1.zip", 1 << 20)
    with zipfile.ZipFile(repository / ".git" / "1.zip") as package:
        texts = {name: package.read(name) for name in package.namelist()}
    assert (
        texts["specs/same.yaml"] == texts["all/same.yaml"] == Path("specs/disc.yaml").read_bytes()
    )
    assert (
        "shipped as the files that they lead to: all/disc.yaml -> specs/disc.yaml, "
        in "\n".join(describe(shipment))
    )


SPECS = sorted(path.relative_to(ROOT) for path in (ROOT / "sweeps").rglob("*.yaml"))
MOST_BYTES = 3_000_000


@pytest.mark.parametrize("spec", SPECS, ids=[path.stem for path in SPECS])
def test_a_job_of_a_checkout_has_the_code_and_its_spec(
    monkeypatch: pytest.MonkeyPatch, spec: Path
) -> None:
    monkeypatch.chdir(ROOT)
    workload = load_spec(spec).workload
    assert list(workload.files()) == []
    shipment = gather([str(spec)], data=workload.package_data())
    assert {str(spec)} <= besides_code(shipment) <= {str(spec), "pyproject.toml"}
    assert sum(shipment.sizes.values()) <= MOST_BYTES
    assert "fractal_ray/__main__.py" in shipment
    text = spec.read_text()
    assert ("nanochat/data/stdlib_qa/train.jsonl" in shipment) == ("stdlib_qa" in text)
    assert ("fractal_ray/workloads/mlp/paper_draw.npz" in shipment) == ("draw: paper" in text)


def test_the_files_of_a_job_run_a_sweep_by_themselves(tmp_path: Path, repository: Path) -> None:
    shipment = gather([])
    write_package(shipment, tmp_path / "package.zip", 1 << 30)
    job = tmp_path / "job"
    with zipfile.ZipFile(tmp_path / "package.zip") as packed:
        packed.extractall(job)
    program = (
        "import sys, fractal_ray, nanochat; print(fractal_ray.__file__, nanochat.__file__);"
        "from fractal_ray.__main__ import main; main()"
    )
    words = ["run", str(DATASETS / "map.yaml"), "--engine", "local", "--storage", str(tmp_path)]
    words += ["--set", "stages=[{grid: {points: 9}}]"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=job,
        env={**os.environ, "PYTHONPATH": str(job)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    places, *result = done.stdout.splitlines()
    assert places.split() == [str(job / name / "__init__.py") for name in PACKAGES]
    assert f"figure:  {tmp_path}/" in "\n".join(result)


def test_pip_gets_the_files_that_a_project_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shipment = gather(["sweeps/quickstart.yaml"], install=True)
    expected = {"pyproject.toml", "README.md", "LICENSE", "sweeps/quickstart.yaml"}
    assert besides_code(shipment) == expected


def test_pip_gets_all_tracked_files_of_another_project(repository: Path) -> None:
    Path("pyproject.toml").write_text("[project]")
    Path("mine.py").write_text("")
    git(repository, "add", ".")
    assert besides_code(gather(["specs/disc.yaml"])) == {"specs/disc.yaml"}
    expected = {"specs/disc.yaml", "pyproject.toml", "mine.py"}
    assert besides_code(gather(["specs/disc.yaml"], install=True)) == expected


def test_outside_of_git_the_spec_and_its_files_are_shipped(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    submit: Callable[..., tuple[int, str]],
    packed: list[Shipment],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    Path("disc.yaml").write_text(yaml.safe_dump(raw_spec()))
    for name in ("rows.jsonl", "other.txt"):
        Path(name).write_text("x")
    command = ("disc.yaml", "--dry-run")
    named = ("--", *KEPT, "--set", "workload.data.source=rows.jsonl")
    code, said = submit(*command, *named)
    assert code == 0, said
    assert besides_code(packed[-1]) == {"disc.yaml", "rows.jsonl"}
    code, said = submit(*command, "--include", "other.txt", *named)
    assert code == 0, said
    assert besides_code(packed[-1]) == {"disc.yaml", "rows.jsonl", "other.txt"}


def test_a_job_runs_in_the_folder_that_it_was_sent_from(
    repository: Path, submit: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository / "specs")
    code, said = submit("disc.yaml", "--dry-run", "--", *KEPT, "--set", "name=a-b")
    assert code == 0
    assert "command: cd specs && exec python -m fractal_ray run disc.yaml --storage" in said


def test_a_folder_of_which_nothing_is_shipped_is_refused_with_the_command_at_the_root(
    repository: Path, submit: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "data").mkdir()
    (repository / "data" / "x").write_text("x")
    (repository / "m").write_text("x")
    (repository / ".gitignore").write_text("data/\n")
    git(repository, "add", ".")
    monkeypatch.chdir(repository / "data")
    arguments = (
        *("../specs/disc.yaml", "--dry-run", "--include", "../m", "--env", "A=hush"),
        *("--", *KEPT, "--set", "workload.model=../m"),
    )
    code, said = submit(*arguments)
    assert code == 2
    assert "no file of data is shipped; submit from the root:" in said
    assert "hush" not in said
    command = said.splitlines()[-1]
    assert command.startswith(f"cd '{repository}' && fractal-ray submit specs/disc.yaml ")
    monkeypatch.chdir(repository)
    words = shlex.split(command.partition(" && ")[2])
    assert sorted(words[3 : words.index("--")]) == sorted(
        ["--include", "m", "--env", "A=VALUE", "--dry-run"]
    )
    assert words[words.index("--") + 1 :][-2:] == ["--set", 'workload.model="m"']
    code, said = submit(*words[2:])
    assert (code, "command: python -m fractal_ray run specs/disc.yaml" in said) == (0, True), said
    monkeypatch.chdir(repository / "data")
    code, said = submit(*arguments[:2], "--include", "x", *arguments[2:])
    assert (code, "command: cd data && exec python" in said) == (0, True), said


def test_git_add_is_advised_only_where_it_ships_the_file(
    repository: Path, submit: Callable[..., tuple[int, str]]
) -> None:
    (repository / ".gitignore").write_text("ignored.yaml\n")
    for name in ("ignored.yaml", "my new.yaml"):
        shutil.copy("specs/disc.yaml", name)
    code, said = submit("ignored.yaml", "--dry-run", "--", *KEPT)
    assert (code, "would not be shipped; --include ignored.yaml" in said) == (2, True)
    code, said = submit("my new.yaml", "--dry-run", "--", *KEPT)
    assert (code, "git add 'my new.yaml' (no commit is needed), or" in said) == (2, True)
    (repository / "empty").mkdir()
    code, said = submit("specs/disc.yaml", "--include", "empty", "--dry-run", "--", *KEPT)
    assert (code, "--include empty: there is no file to ship in it" in said) == (2, True)
    model = ("--set", "workload.model=empty")
    code, said = submit("specs/disc.yaml", "--dry-run", "--", *KEPT, *model)
    assert (code, "workload.model: empty holds no file" in said) == (2, True)


@pytest.mark.parametrize(
    ("key", "named"),
    [("model", "models/mine"), ("tokenizer_artifact", "tok"), ("data.source", "data/a.jsonl")],
)
def test_folders_that_the_spec_names_must_be_shipped(
    repository: Path, submit: Callable[..., tuple[int, str]], key: str, named: str
) -> None:
    asked = (
        *("specs/disc.yaml", "--dry-run", "--", *KEPT),
        *("--set", f"workload.{key}={named}"),
    )
    code, said = submit(*asked)
    assert code == 2
    assert f"workload.{key}: {named} does not exist here" in said
    inside = Path(named) if Path(named).suffix else Path(named) / "file.pt"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_text("x")
    code, said = submit(*asked)
    assert code == 2
    assert f"workload.{key}: {named} would not be shipped; git add {named}" in said
    git(repository, "add", named)
    assert submit(*asked)[0] == 0
    assert submit(*asked[:-1], f"workload.{key}=/shared/{named}")[0] == 0


@pytest.mark.parametrize(
    ("key", "ignored"),
    [
        ("model", "models/mine/checkpoints/model_000400.pt"),
        ("model", "models/mine/tokenizer/tokenizer.pkl"),
        ("tokenizer_artifact", "models/mine/tokenizer/tokenizer.pkl"),
        ("data.source", "models/mine/train.jsonl"),
    ],
)
def test_a_folder_whose_needed_file_is_ignored_by_git_is_refused(
    repository: Path, submit: Callable[..., tuple[int, str]], key: str, ignored: str
) -> None:
    shutil.copytree(GOLDEN, "models/mine")
    Path("models/mine/train.jsonl").write_text("x")
    Path("models/mine/other.txt").write_text("x")
    Path(".gitignore").write_text(f"{ignored}\nother.txt\n")
    git(repository, "add", ".")
    command = ("specs/disc.yaml", "--dry-run")
    folder = ("--", *KEPT, "--set", f"workload.{key}=models/mine")
    code, said = submit(*command, *folder)
    assert code == 2
    assert f"workload.{key}: {ignored} would not be shipped; --include {ignored}" in said
    code, said = submit(*command, "--include", ignored, *folder)
    line = f"warning: workload.{key}: of models/mine, not shipped: 1 file: models/mine/other.txt"
    assert (code, line in said) == (0, True), said
    code, said = submit(*command, "--include", "models/mine", *folder)
    assert (code, "warning" in said) == (0, False), said


def test_names_that_wandb_refuses_are_refused_before_the_job_is_sent(
    repository: Path, submit: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_ENTITY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    command = ("specs/disc.yaml", "--dry-run", "--env", "WANDB_PROJECT=a#b", "--", *KEPT)
    code, said = submit(*command, "--tracking")
    assert (code, "WANDB_PROJECT" in said) == (2, True), said
    assert submit(*command)[0] == 0
    assert submit(*command, "--set", "tracking.wandb.project=maps")[0] == 0


def test_storage_that_a_job_would_lose_is_refused(
    repository: Path, submit: Callable[..., tuple[int, str]]
) -> None:
    code, said = submit("specs/disc.yaml", "--dry-run")
    assert code == 2
    assert "storage: 'results' is relative" in said
    assert "-- --storage s3://bucket/sweeps" in said
    code, said = submit("specs/disc.yaml", "--dry-run", "--", "--storage", "/shared/sweeps")
    assert code == 0
    assert "warning: storage /shared/sweeps is a folder of the cluster's head node" in said
    assert "warning" not in submit("specs/disc.yaml", "--dry-run", "--", *KEPT)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--stroage", "s3://a/b"), "No such option: --stroage"),
        (("--set", "axes.x.max=-1", *KEPT), "axes.x"),
        (("--address", "auto", *KEPT), "--address of `run` has no place in a job"),
        (("--num-cpus", "2", *KEPT), "--num-cpus of `run` has no place in a job"),
    ],
)
def test_mistakes_in_the_arguments_of_run_are_told_here(
    repository: Path,
    submit: Callable[..., tuple[int, str]],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    code, said = submit("specs/disc.yaml", "--dry-run", "--", *arguments)
    assert (code, message in said) == (2, True), said


def test_install_needs_a_project(repository: Path, submit: Callable[..., tuple[int, str]]) -> None:
    code, said = submit("specs/disc.yaml", "--dry-run", "--install", "--", *KEPT)
    assert (code, "no pyproject.toml among the shipped files" in said) == (2, True)


# Environment --------------------------------------------------------------------------------


def test_credentials_are_passed_by_name_and_never_printed(
    repository: Path, submit: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "hush-1")
    monkeypatch.setenv("OWN", "hush-2")
    code, said = submit(
        *("specs/disc.yaml", "--dry-run", "--env", "OWN", "--env", "OTHER=hush-3", "--", *KEPT)
    )
    assert code == 0
    assert "environment passed: OTHER, OWN, WANDB_API_KEY" in said
    assert "hush" not in said


def test_aws_goes_along_only_where_storage_is_on_s3() -> None:
    here = {"AWS_ACCESS_KEY_ID": "a", "AWS_ENDPOINT_URL": "b", "HF_TOKEN": "c", "HF_HOME": "/d"}
    settings, keys = job_environment([], "s3://bucket/sweeps", here)
    assert (settings["AWS_ENDPOINT_URL"], set(keys)) == ("b", {"AWS_ACCESS_KEY_ID", "HF_TOKEN"})
    assert "HF_HOME" not in settings
    settings, keys = job_environment([], "/shared", here)
    assert set(keys) == {"HF_TOKEN"}
    assert not any(name.startswith("AWS") for name in settings)


def test_ray_is_given_no_variable_that_may_hold_a_key() -> None:
    here = {"WANDB_API_KEY": "a", "WANDB_PROJECT": "b", "WANDB_BASE_URL": "https://me:key@host"}
    options = ["OWN=c", "OMP_NUM_THREADS=2", "RAY_AUTH_TOKEN=d", "MONEY=4$"]
    settings, keys = job_environment(options, "/shared", here)
    assert {name for name in settings if "STOP" not in name} == {"WANDB_PROJECT", "OMP_NUM_THREADS"}
    expected = {"WANDB_API_KEY", "WANDB_BASE_URL", "OWN", "RAY_AUTH_TOKEN", "MONEY"}
    assert set(keys) == expected
    request = JobRequest("id", "true", settings, keys, {})
    names = sorted(expected | {"OMP_NUM_THREADS", "WANDB_PROJECT"})
    assert passed_names(request) == ", ".join(names)
    assert "WANDB_API_KEY" not in str(request.runtime_env(Path("package.zip")))


@pytest.mark.parametrize("token", [None, "7" * 64])
def test_keys_of_a_job_are_sealed_until_its_driver_takes_them(
    monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    monkeypatch.setattr(keys_of_jobs, "auth_token", lambda: token)
    monkeypatch.setattr(keys_of_jobs, "_keys_of_job", {})
    monkeypatch.setenv("OWN", "")  # restored at the end
    sealed = seal({"OWN": "hush \u00e9$"}, token)
    assert "hush" not in sealed + b64decode(sealed).decode("latin-1")
    assert sealed != seal({"OWN": "hush \u00e9$"}, token), "equal keys are not seen to be equal"
    facts = {"sweep": "disc"}
    job = {"runtime_env": {}, "metadata": {**facts, SEALED_KEYS: sealed}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    take_keys()
    assert os.environ["OWN"] == "hush \u00e9$"
    assert json.loads(os.environ["RAY_JOB_CONFIG_JSON_ENV_VAR"])["metadata"] == facts
    assert keys_of_jobs.keys_of_job() == {"OWN": "hush \u00e9$"}


def test_keys_sealed_for_another_cluster_are_refused() -> None:
    sealed = seal({"OWN": "hush"}, "7" * 64)
    raw = b64decode(sealed)
    damaged = b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
    for text, token in [(sealed, "8" * 64), (sealed, None), (damaged, "7" * 64), ("", None)]:
        with pytest.raises(SweepError, match="RAY_AUTH_TOKEN_PATH") as refused:
            unseal(text, token)
        assert "hush" not in str(refused.value)


def test_stop_lets_a_sweep_close_its_files_unless_told_otherwise() -> None:
    settings, keys = job_environment([], "/shared", {})
    assert keys == {}
    assert settings == {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}
    settings, _ = job_environment(["RAY_JOB_STOP_WAIT_TIME_S=300"], "/shared", {})
    assert settings["RAY_JOB_STOP_WAIT_TIME_S"] == "300"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("UNSET", "UNSET: it is not set"),
        ("a-b=hush", "no such name"),
        ("HF_X=hush$HOME", "a \\$ in"),
    ],
)
def test_variables_that_cannot_be_passed_are_refused(asked: str, message: str) -> None:
    with pytest.raises(SweepError, match=message) as refused:
        job_environment([asked], "/shared", {})
    assert "hush" not in str(refused.value)


# The server ---------------------------------------------------------------------------------


@contextlib.contextmanager
def server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Serve on loopback and answer every GET by `answer`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_port}"
        finally:
            serving.shutdown()
            thread.join()


def reply(
    handler: http.server.BaseHTTPRequestHandler,
    status: int,
    text: str = '{"ray_version": "2.60.0"}',
) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text.encode())


def hang(release: threading.Event) -> None:
    release.wait(10)


@pytest.fixture
def no_token(tmp_path: Path) -> Iterator[Path]:
    """Make a home without a token; remove tokens from the environment and from Ray's memory.

    The Ray of the test session gets its own token back at the end.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        for name in ("TOKEN", "TOKEN_PATH", "MODE"):
            patch.delenv(f"RAY_AUTH_{name}", raising=False)
        patch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
        _read_authentication_again()
        yield tmp_path
    _read_authentication_again()


def _read_authentication_again() -> None:
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def test_a_server_that_is_none_is_said_within_seconds(
    no_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_client, "_TIMEOUTS", (0.3, 0.3))
    with pytest.raises(
        SweepError, match=r"no answer from a Ray dashboard at http://127\.0\.0\.1:1 "
    ):
        connect("http://127.0.0.1:1")
    release = threading.Event()
    with server(lambda _: hang(release)) as silent:
        with pytest.raises(SweepError, match="no answer from a Ray dashboard"):
            connect(silent)
        release.set()
    for status, text in ((404, ""), (200, "<html>"), (200, "{}"), (503, "")):
        with (
            server(lambda handler, s=status, t=text: reply(handler, s, t)) as other,
            pytest.raises(SweepError, match="is no Ray dashboard"),
        ):
            connect(other)


def test_the_address_is_the_option_then_the_variables(
    no_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(lambda handler: reply(handler, 200)) as here:
        monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
        with pytest.raises(SweepError, match=r"RAY_ADDRESS is '127.0.0.1:6379'; .* --address http"):
            connect(None)
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", here)
        assert connect(None).get_address() == here
        monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
        assert connect(here).get_address() == here
        assert os.environ["RAY_API_SERVER_ADDRESS"] == "http://127.0.0.1:1"


def test_a_token_is_found_where_ray_keeps_it(
    no_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str | None] = []

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        sent.append(handler.headers["Authorization"])
        reply(handler, 200 if sent[-1] else 401, '{"ray_version": "2.60.0"}' if sent[-1] else "no")

    with server(answer) as address:
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(SweepError, match="RAY_AUTH_MODE is token, and no token is here"):
            connect(address)
        monkeypatch.delenv("RAY_AUTH_MODE")
        assert sent == []
        with pytest.raises(SweepError, match="wants a token here"):
            connect(address)
        (no_token / ".ray").mkdir()
        (no_token / ".ray" / "auth_token").write_text("from-home\n")
        connect(address)
        assert sent[-1] == "Bearer from-home"
        (no_token / "other").write_text("from-path")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(no_token / "other"))
        connect(address)
        assert sent[-1] == "Bearer from-path"
        monkeypatch.setenv("RAY_AUTH_TOKEN", "from-variable")
        connect(address)
        assert sent[-1] == "Bearer from-variable"
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        with pytest.raises(SweepError, match="wants a token"):
            connect(address)
    monkeypatch.delenv("RAY_AUTH_MODE")
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(no_token / "nowhere"))
    with pytest.raises(SweepError, match="nowhere cannot be read"):
        connect("http://127.0.0.1:1")


def test_keys_are_sealed_with_the_token_that_the_cluster_checks(
    no_token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "7" * 64)
    for mode, token in [("token", "7" * 64), ("disabled", None)]:
        text = json.dumps({"ray_version": "2.60.0", "authentication_mode": mode})
        with server(lambda handler, text=text: reply(handler, 200, text)) as address:
            assert connect(address).checked_token() == token


def test_a_log_is_shown_once_across_lost_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every connection begins with all of the log; its pieces need not be cut alike.
    connections = [["one\n", "tw"], [], ["one\ntwo\nth", "ree\n"], ["one\ntwo\nthree\n", "end\n"]]
    states = iter(["RUNNING", "RUNNING", "RUNNING", "RUNNING", "SUCCEEDED"])

    class Cut:
        async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
            pieces = connections.pop(0)
            for piece in pieces:
                yield piece
            if connections:
                raise RuntimeError("WebSocket connection closed unexpectedly")

        def get_job_info(self, job: str) -> SimpleNamespace:
            return SimpleNamespace(status=JobStatus(next(states)))

    monkeypatch.setattr(jobs.time, "sleep", lambda seconds: None)
    shown: list[str] = []
    info = jobs.follow(cast(jobs.Client, Cut()), "a", shown.append)
    assert info.status is JobStatus.SUCCEEDED
    assert "".join(shown) == "one\ntwo\nthree\nend\n"


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 3, 3),
        ("FAILED", -9, 137),
        ("FAILED", None, 1),
        ("STOPPED", None, 130),
    ],
)
def test_exit_codes_are_those_of_a_shell(status: str, driver: int | None, code: int) -> None:
    info = SimpleNamespace(status=JobStatus(status), driver_exit_code=driver)
    assert jobs.exit_code(cast(jobs.JobDetails, info)) == code


@pytest.mark.parametrize("odd", ["", "a/b", "a b", "-x", "x" * 129, "a?b"])
def test_ids_that_would_not_fit_an_address_are_refused(odd: str) -> None:
    with pytest.raises(SweepError, match="a job's id is letters"):
        check_id(odd)


def test_a_shipment_knows_folders_by_what_is_below_them(tmp_path: Path) -> None:
    shipment = Shipment(tmp_path, {"models/a/w.pt": 1, "modelsx": 1}, ())
    assert "models" in shipment
    assert "models/a" in shipment
    assert "model" not in shipment
    assert "models/a/w" not in shipment
