"""Storage that is silent: an endpoint that accepts connections and never answers."""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pyarrow.fs as pafs
import pytest

from fractal_ray.cli.main import main
from fractal_ray.dataset import parts


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the query of a location on an endpoint that never answers."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(parts, "_SILENT_SECONDS", 1.0)
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                held.append(server.accept())

    thread = threading.Thread(target=accept)
    thread.start()
    port = server.getsockname()[1]
    yield f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()
    for connection, _ in held:
        connection.close()


@pytest.mark.parametrize(
    "words",
    [
        ["status", "s3://bucket/s?{}"],
        ["analyze", "s3://bucket/s?{}"],
        ["run", "sweeps/weierstrass.yaml", "--engine", "local", "--storage", "s3://bucket?{}"],
    ],
    ids=lambda words: words[0],
)
def test_storage_that_never_answers_is_one_line_in_a_bounded_time(
    silent: str,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["fractal-ray", *(word.format(silent) for word in words)])
    start = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main()
    assert time.monotonic() - start < 20  # three attempts of a second, and the waits between them
    text, errors = capsys.readouterr()
    assert (ended.value.code, text, errors.count("\n")) == (2, "", 1), errors
    assert "does not answer as it should" in errors
    assert "repeat the command when the storage can be reached" in errors


def test_the_client_of_a_uri_keeps_its_options() -> None:
    uri = "s3://name:word@bucket/s?endpoint_override=127.0.0.1:1&scheme=http&region=eu-west-3"
    filesystem, root = parts.filesystem_at(f"{uri}&allow_bucket_creation=true")
    assert isinstance(filesystem, pafs.S3FileSystem)
    assert (root, filesystem.region) == ("bucket/s", "eu-west-3")
    _, (options,) = filesystem.__reduce__()
    assert options["endpoint_override"] == "127.0.0.1:1"
    assert (options["access_key"], options["secret_key"]) == ("name", "word")
    assert (options["connect_timeout"], options["request_timeout"]) == (5.0, 10.0)
    assert options["allow_bucket_creation"]
