"""Keys in the texts of failures, which reports and shared pages show."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from fractal_ray.analysis.status import failure_groups
from fractal_ray.dataset.rows import Failure, failures_table
from fractal_ray.dataset.secrets import without_keys
from fractal_ray.engine.base import describe
from fractal_ray.sweep import Sweep
from tests.fractal_ray.dataset.test_rows import origin

AWS = "AKIA" + "ABCDEFGHIJKLMNOP"
HUB = "hf_" + "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("cannot open 's3://KEY:SECRET@bucket/a'", "cannot open 's3://bucket/a'"),
        ("GET https://host/a?X-Amz-Signature=abc&x=1 failed", "GET https://host/a failed"),
        ("see https://host/docs?page=2#part", "see https://host/docs?page=2#part"),
        (f"401 for {HUB}, id {AWS}.", "401 for ***, id ***."),
        ("HfApi(api_key='abcd1234efgh')", "HfApi(api_key='***')"),
        ("Authorization: Bearer abcd1234efgh", "Authorization: Bearer ***"),
        ("AWS_SECRET_ACCESS_KEY=abcd/1234+efgh", "AWS_SECRET_ACCESS_KEY=***"),
        ("the key is correct-horse, not horse", "the key is ***, not horse"),
        ("num_tokens=100000, pad_token: <|end|>", "num_tokens=100000, pad_token: <|end|>"),
    ],
)
def test_keys_are_removed_from_a_text(text: str, cleaned: str) -> None:
    environment = {"WANDB_API_KEY": "correct-horse", "SHORT_KEY": "horse", "PATH": "the key is"}
    assert without_keys(text, environment) == cleaned


def test_failures_hold_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "correct-horse")
    try:
        raise ValueError("correct-horse at s3://KEY:SECRET@bucket")
    except ValueError as error:
        failure = describe(error)
    raw = Failure(origin(), "error", "correct-horse", "s3://KEY:SECRET@bucket", True)
    (row,) = failures_table([raw]).to_pylist()
    for text in (failure.error, failure.traceback, row["error"], row["traceback"]):
        assert "correct-horse" not in text
        assert "SECRET" not in text
    assert failure.error == "ValueError: *** at s3://bucket"


def test_keys_in_rows_of_earlier_versions_are_not_shown(
    make_sweep: Callable[..., Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make_sweep(stages=[{"grid": {"points": 2}}])
    sweep.run("local")
    text = "at s3://KEY:SECRET@bucket"
    with monkeypatch.context() as patch:
        patch.setattr("fractal_ray.dataset.rows.without_keys", lambda text: text)
        own = replace(origin(), fingerprint="disc")
        sweep.store().append_failures([Failure(own, "error", text, text, True)])
    assert sweep.store().read_failures().column("error").to_pylist() == [text]
    (group,) = failure_groups(sweep)
    assert (group["error"], group["traceback"]) == ("at s3://bucket", "at s3://bucket")
