"""Sweeps as jobs of a real Ray: a head with its dashboard, a token, and a working directory."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from fractal_ray.cli.main import main
from fractal_ray.dataset.store import Store
from fractal_ray.engine.jobs.client import connect
from fractal_ray.sweep import Sweep
from tests.fractal_ray.conftest import raw_spec
from tests.fractal_ray.engine.test_engines import contents

Command = Callable[..., subprocess.CompletedProcess[str]]

DISC = {
    "workload": {"kind": "map", "set": "disc"},
    "axes": {
        "x": {"param": "x", "scale": "linear", "min": -2, "max": 2},
        "y": {"param": "y", "scale": "linear", "min": -2, "max": 2},
    },
}
# 36 fine-tunes of a third of a second each, in one slot.
SLOW = {
    "resources": {"slots": 1},
    "stages": [{"grid": {"points": 6}}],
    "workload": {
        "model": "preset:tiny",
        "data": {"source": "stdlib_qa", "max_seq_len": 64},
        "recipe": {"num_tokens": 10_000, "dtype": "float32"},
    },
    "label": {"window": 5},
}


@pytest.fixture(scope="module")
def head() -> Iterator[dict[str, str]]:
    """Start a head on loopback with its own ports, folder and token; yield a client's variables.

    Nothing of it is left afterwards.
    """
    # Not pytest's folder: paths of sockets may have 107 characters. Its mode is 0700.
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir=os.environ["RAY_TMPDIR"]))
    token = folder / "token"
    token.write_text("7" * 64)
    gcs, dashboard, agent, client = free_ports(4)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # Without multi-node support every listener is on loopback.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
    }
    program = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *("--port", gcs, "--dashboard-port", dashboard, "--dashboard-agent-listen-port", agent),
        *("--ray-client-server-port", client, "--temp-dir", f"{folder}/r", "--num-cpus", "2"),
        *("--object-store-memory", "100000000", "--disable-usage-stats"),
    ]
    with (folder / "start.log").open("w") as log:
        starting = subprocess.Popen(
            program, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        for port in (dashboard, agent):
            wait_for(lambda port=port: listens(int(port)), 60, f"nobody listens on {port}")
        yield {
            "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
    finally:
        starting.terminate()
        try:
            starting.wait(30)
        finally:
            for process in left_of(folder):
                process.kill()
            wait_for(lambda: not left_of(folder), 20, "processes of Ray are left")
            shutil.rmtree(folder)


def free_ports(count: int) -> list[str]:
    """Find ports below those that Ray gives to workers and the system gives to clients."""
    found = []
    for port in range(22_000 + os.getpid() % 5_000, 32_000):
        if not listens(port):
            found.append(str(port))
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def listens(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def left_of(folder: Path) -> list[psutil.Process]:
    """Find the processes that name the folder of a Ray in their command."""
    every = psutil.process_iter(["cmdline", "status"])
    return [
        process
        for process in every
        if any(str(folder) in part for part in process.info["cmdline"] or [])
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def wait_for(condition: Callable[[], object], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.2)


@pytest.fixture
def sent(
    head: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Command:
    """Return ``sent("submit", ...)``, which runs the command against the head.

    It runs in a git repository that tracks ``disc.yaml`` and ``slow.yaml``.
    """
    for name, value in head.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "disc.yaml").write_text(yaml.safe_dump(raw_spec(**DISC)))
    (folder / "slow.yaml").write_text(yaml.safe_dump(raw_spec(**SLOW)))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["fractal-ray", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int | None)
        return subprocess.CompletedProcess(arguments, code or 0, *capfd.readouterr())

    return call


def test_a_sweep_runs_as_a_job(sent: Command, tmp_path: Path) -> None:
    kept = ["--", "--storage", str(tmp_path / "kept"), "--engine", "local"]
    done = sent("submit", "disc.yaml", "--id", "first", *kept)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "81/81 points" in done.stdout
    assert "first  SUCCEEDED" in done.stderr
    assert Sweep.open(tmp_path / "kept" / "disc").table().num_rows == 81

    listed = sent("jobs", "list")
    assert listed.returncode == 0
    assert listed.stdout.startswith("first  SUCCEEDED")
    assert f"{tmp_path}/kept/disc" in listed.stdout
    assert "exit code: 0" in sent("jobs", "status", "first").stdout
    assert sent("jobs", "logs", "first").stdout == done.stdout
    assert "first has ended already: SUCCEEDED" in sent("jobs", "stop", "first").stdout

    again = sent("submit", "disc.yaml", "--id", "first", *kept)
    assert again.returncode == 2
    assert again.stderr.endswith(
        "error: a job of this id is there already; give another --id, or none\n"
    )
    for verb in ("status", "stop", "logs"):
        unknown = sent("jobs", verb, "nobody")
        assert (unknown.returncode, unknown.stdout) == (2, "")
        assert unknown.stderr == (
            "error: Job nobody does not exist; `fractal-ray jobs list` shows those there are\n"
        )


# Python imports it at its start in all processes of a job; it notes the keys that arrive.
NOTES = """
import hashlib, os, threading, time

def note():
    while not all(name in os.environ for name in {names}):
        time.sleep(0.02)
    values = "".join(os.environ[name] for name in {names})
    with open(f"{folder}/{{os.getpid()}}", "w") as file:
        file.write(hashlib.sha256(values.encode()).hexdigest())

threading.Thread(target=note, daemon=True).start()
"""


def test_keys_reach_the_processes_of_a_sweep_and_no_file_or_list(
    sent: Command, head: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"canary{os.getpid()}"
    names = ["WANDB_API_KEY", "HF_TOKEN", "OWN", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    for name in names:
        monkeypatch.setenv(name, f"{mark}-{name}-${{HOME}}")
    values = "".join(os.environ[name] for name in names)
    arrived = tmp_path / "arrived"
    arrived.mkdir()
    Path("sitecustomize.py").write_text(NOTES.format(names=names, folder=arrived))
    subprocess.run(["git", "add", "."], check=True)
    options = [word for name in names[2:] for word in ("--env", name)]
    options += ["--include", "sitecustomize.py"]
    kept = ["--", "--storage", str(tmp_path / "kept"), "--set", "resources.slots=1"]

    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        """Collect commands and first environments of Ray's processes and of the job's."""
        while not over.wait(0.3):
            for process in psutil.process_iter():
                with contextlib.suppress(psutil.Error):
                    seen.add(line := " ".join(process.cmdline()))
                    if "ray" in line and process.pid != os.getpid():
                        seen.add(str(process.environ()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        done = sent("submit", "disc.yaml", "--id", "keys", *options, *kept)
    finally:
        over.set()
        looking.join()
    assert done.returncode == 0, done.stdout + done.stderr
    notes = [path.read_text() for path in arrived.iterdir()]
    assert len(notes) >= 3, "the driver, the dispatcher and a worker"
    assert set(notes) == {hashlib.sha256(values.encode()).hexdigest()}

    dataset = tmp_path / "kept" / "disc"
    assert sent("report", str(dataset)).returncode == 0
    seen |= {done.stdout, done.stderr, str(Sweep.open(dataset).table().to_pylist())}
    seen |= {sent("jobs", verb, "keys").stdout for verb in ("status", "logs")}
    seen |= {str(job) for job in connect(None).list_jobs()}
    session = Path(head["RAY_AUTH_TOKEN_PATH"]).parent
    files = [path for top in (session, tmp_path) for path in top.rglob("*") if path.is_file()]
    assert any(path.name == "sitecustomize.py" and session in path.parents for path in files)
    seen |= {path.read_bytes().decode("latin-1") for path in files}
    assert any("fractal_ray_keys" in text for text in seen), "the sealed keys were looked at"
    assert not [text[:300] for text in seen if mark in text]


ATTACK = """
import os, sys
from pathlib import Path

os.setgroups([])
os.setgid(65534)
os.setuid(65534)
names = sys.argv[4].split(",")
attempts = {
    "list": lambda: os.listdir(sys.argv[1]),
    "read": lambda: Path(sys.argv[2]).read_text(),
    "replace": lambda: os.rename(sys.argv[3], sys.argv[3] + "-old"),
    "link": lambda: os.symlink("/etc/passwd", sys.argv[2] + "-link"),
}
for name in names:
    try:
        attempts[name]()
    except PermissionError:
        continue
    print(name)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_cannot_read_logs_or_replace_the_code_of_a_job(
    sent: Command, head: dict[str, str], tmp_path: Path
) -> None:
    kept = ["--", "--storage", str(tmp_path / "kept"), "--engine", "local"]
    done = sent("submit", "disc.yaml", "--id", "before", *kept)
    assert done.returncode == 0, done.stdout + done.stderr
    session = Path(head["RAY_AUTH_TOKEN_PATH"]).parent / "r" / "session_latest"
    log = next(session.glob("logs/runtime_env_agent.log"))
    package = next(session.glob("runtime_resources/working_dir_files/_ray_pkg_*/"))
    assert session.resolve().stat().st_mode & 0o777 == 0o777

    def attack(*attempts: str) -> str:
        words = [sys.executable, "-c", ATTACK, *map(str, (session, log, package))]
        done = subprocess.run([*words, ",".join(attempts)], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert attack("list", "read", "replace", "link") == ""
    private = session.parents[1]
    private.chmod(0o711)  # without the private folder they could
    assert attack("list", "read", "link").split() == ["list", "read", "link"]
    private.chmod(0o700)


@pytest.mark.slow
def test_what_is_shipped_comes_first_and_its_exit_code_comes_back(
    sent: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A package of the same name in place of the one that is installed.
    shown = """
import json, os, sys
from pathlib import Path
files = [str(path) for path in Path().rglob("*") if path.is_file() and path.suffix != ".pyc"]
print(json.dumps([sorted(files), sys.argv[1:], len(os.environ.get("WANDB_API_KEY", ""))]))
sys.exit(3)
"""
    Path("fractal_ray").mkdir()
    Path("fractal_ray/__init__.py").touch()
    Path("fractal_ray/__main__.py").write_text(shown)
    subprocess.run(["git", "add", "fractal_ray"], check=True)
    Path("untracked.txt").write_text("stays here")
    monkeypatch.setenv("WANDB_API_KEY", "hush-hush")
    done = sent("submit", "disc.yaml", "--id", "fails", "--", "--storage", "s3://a/it's here")
    assert done.returncode == 3, done.stdout + done.stderr
    files, arguments, length = json.loads(done.stdout.splitlines()[-1])
    own = [name for name in files if not name.startswith("nanochat/")]
    assert own == ["disc.yaml", "fractal_ray/__init__.py", "fractal_ray/__main__.py"]
    assert "nanochat/__init__.py" in files, "that of the installation"
    assert arguments == ["run", "disc.yaml", "--storage", "s3://a/it's here"]
    assert length == 0, "this package takes no keys, and Ray has none"
    assert "hush" not in done.stdout + done.stderr
    assert "fails  FAILED" in done.stderr
    assert "exit code: 3" in sent("jobs", "status", "fails").stdout


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_stopped_job_closes_its_files_and_the_same_submit_goes_on(
    sent: Command, tmp_path: Path
) -> None:
    unbroken = Sweep.open("slow.yaml", (f"storage={tmp_path / 'unbroken'}",))
    unbroken.run("local")
    kept = ["--", "--storage", str(tmp_path / "kept")]
    detached = sent("submit", "slow.yaml", "--id", "stopped", "--detach", *kept)
    assert (detached.returncode, detached.stdout) == (0, "stopped\n")
    assert "stop:   fractal-ray jobs stop stopped" in detached.stderr
    dataset = Store(str(tmp_path / "kept" / "disc"))
    wait_for(lambda: dataset.read(["point_id"]).num_rows > 2, 120, "no points")

    stopped = sent("jobs", "stop", "stopped")
    assert stopped.returncode == 0
    assert "stopped  STOPPED" in stopped.stdout
    log = sent("jobs", "logs", "stopped").stdout
    kept_rows = dataset.read(["point_id", "created_at"]).to_pylist()
    rows = len(kept_rows)
    assert f"stopped; {rows} points are in" in log
    assert 2 < rows < 36
    assert sent("jobs", "logs", "--follow", "stopped").returncode == 130
    assert "stopped has ended already" in sent("jobs", "stop", "stopped").stdout

    done = sent("submit", "slow.yaml", "--id", "resumed", *kept)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "36/36 points" in done.stdout
    now = dataset.read(["point_id", "created_at"]).to_pylist()
    assert all(row in now for row in kept_rows), "these were not run again"
    assert contents(dataset.read()) == contents(unbroken.table())


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_ctrl_c_leaves_the_job_and_another_runs_beside_it(
    sent: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ["--", "--storage", str(tmp_path / "kept")]
    program = [sys.executable, "-m", "fractal_ray", "submit", "slow.yaml", "--id", "left", *kept]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as following:
        wait_for(lambda: "left" in sent("jobs", "list").stdout, 60, "no job")
        assert following.stdout is not None
        # Read until the first line of progress: then the run can be interrupted.
        for line in following.stdout:
            if "/36 points" in line:
                break
        threading.Timer(0.5, following.send_signal, [2]).start()
        _, said = following.communicate(timeout=60)
    assert following.returncode == 130, said
    assert "detached; the job goes on" in said
    assert "fractal-ray jobs logs --follow left" in said

    beside = sent("submit", "disc.yaml", "--id", "beside", *kept, "--set", "name=beside")
    assert beside.returncode == 0, beside.stdout + beside.stderr
    done = sent("jobs", "logs", "-f", "left")
    assert done.returncode == 0, done.stdout
    assert Sweep.open(tmp_path / "kept" / "disc").table().num_rows == 36
    assert Sweep.open(tmp_path / "kept" / "beside").table().num_rows == 81
