"""Both command lines where the reader of their output has gone, or torchrun started them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fractal_ray.cli.main
import nanochat.cli.main


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_closed_pipe_ends_the_printing_only(tmp_path: Path, stream: str) -> None:
    code = (
        "import sys, subprocess, typer; from pathlib import Path\n"
        "from nanochat.cli.closed_pipe import survive_closed_pipes\n"
        "survive_closed_pipes()\n"
        "print('é', file=sys.stdout, flush=True)\n"
        "sys.stdin.readline()\n"
        "for number in range(20000): typer.echo(number); print(number, file=sys.stderr)\n"
        "child = subprocess.run(['echo', 'more'], check=True)\n"
        "Path('done').write_text(str(number))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE if stream == "stdout" else subprocess.DEVNULL,
        stderr=subprocess.PIPE if stream == "stderr" else subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdin is not None
    reader = getattr(process, stream)
    if stream == "stdout":
        assert reader.readline() == "é\n".encode()
    reader.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "done").read_text() == "19999"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("flags", [[], ["-u"]])
@pytest.mark.parametrize("stream", ["stdout", "stderr", "both"])
def test_a_full_disk_ends_the_printing_only(tmp_path: Path, stream: str, flags: list[str]) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from nanochat.cli.closed_pipe import survive_closed_pipes\n"
        "survive_closed_pipes()\n"
        "for number in range(5000): print(number, flush=True); print('x', file=sys.stderr)\n"
        "Path('done').touch()\n"
    )
    with Path("/dev/full").open("wb") as full:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        pipes |= {name: full for name in pipes if stream in (name, "both")}
        command = [sys.executable, *flags, "-c", code]
        done = subprocess.run(command, **pipes, cwd=tmp_path, text=True, timeout=60)
    assert done.returncode == 0
    assert (tmp_path / "done").exists()
    if stream == "stdout":
        lines = [line for line in done.stderr.splitlines() if line != "x"]
        reason = "(No space left on device); nothing more is printed there"
        assert lines == [f"note: standard output cannot be written {reason}"]
    if stream == "stderr":
        assert done.stdout.splitlines() == [str(number) for number in range(5000)]


def test_an_unbuffered_stream_stays_unbuffered() -> None:
    code = (
        "import os; from nanochat.cli.closed_pipe import survive_closed_pipes\n"
        "survive_closed_pipes(); print('shown'); os._exit(0)\n"
    )
    command = [sys.executable, "-u", "-c", code]
    assert subprocess.run(command, capture_output=True, timeout=60).stdout == b"shown\n"


@pytest.mark.parametrize(
    "words", [["nanochat", "finetune", "--preset", "tiny"], ["fractal_ray", "status", "none.yaml"]]
)
def test_both_command_lines_survive_a_closed_pipe(words: list[str], tmp_path: Path) -> None:
    program, *arguments = words
    lead, trail = os.pipe()
    os.close(lead)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "NANOCHAT_BASE_DIR": str(tmp_path)}
    bad = [sys.executable, "-m", program, *arguments, "--no-such-option"]
    done = subprocess.run(bad, stdout=trail, stderr=trail, env=env, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    shown = [sys.executable, "-m", program, "--help"]
    done = subprocess.run(shown, stdout=trail, stderr=trail, env=env, timeout=60)
    os.close(trail)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("main", "words", "advice"),
    [
        (nanochat.cli.main.main, ["nanochat", "finetune"], "or once for each GPU with CUDA_VIS"),
        (fractal_ray.cli.main.main, ["fractal-ray", "run"], "a sweep uses all GPUs of this mach"),
    ],
)
def test_torchrun_is_refused_in_one_line(
    main: Any,
    words: list[str],
    advice: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [*words, "--help"])
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for count, rank, code, lines in (("2", "0", 2, 1), ("2", "1", 2, 0), ("1", "0", 0, 0)):
        monkeypatch.setenv("WORLD_SIZE", count)
        monkeypatch.setenv("RANK", rank)
        with pytest.raises(SystemExit) as ended:
            main()
        errors = capsys.readouterr().err
        assert (ended.value.code, errors.count("\n")) == (code, lines)
        if lines:
            assert errors.startswith(
                f"error: {' '.join(words)} is not data-parallel, and torchrun started it as 2 proc"
            )
            assert advice in errors
