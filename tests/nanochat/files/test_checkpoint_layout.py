"""Which checkpoint and which tokenizer is meant, from names alone."""

import re
from typing import Any

import pytest

from nanochat.errors import NanochatError
from nanochat.files.checkpoint_layout import choose, find_tokenizer


def pair(folder: str, *steps: int, prefix: str = "") -> list[str]:
    start = f"{folder}/{prefix}" if folder else prefix
    return [f"{start}{kind}" for s in steps for kind in (f"model_{s:06d}.pt", f"meta_{s:06d}.json")]


@pytest.mark.parametrize(
    ("folder", "tokenizer"),
    [
        ("", "tokenizer"),
        ("", ""),
        ("checkpoints", "tokenizer"),
        ("checkpoints", "checkpoints"),
        ("d20", "tokenizer"),
        ("d20", "d20/tokenizer"),
        ("base_checkpoints/d20", "tokenizer"),
        ("mid_checkpoints/d20", ""),
        ("chatsft_checkpoints/d20", "tokenizer"),
        ("chatrl_checkpoints/my-run", "tokenizer"),
        ("base_checkpoints", "tokenizer"),
    ],
)
def test_layouts(folder: str, tokenizer: str) -> None:
    pickle = f"{tokenizer}/tokenizer.pkl".lstrip("/")
    noise = ["README.md", "report/report.md", f"{folder}/optim_000650_rank0.pt".lstrip("/")]
    layout = choose([*noise, *pair(folder, 650), pickle])
    assert (layout.checkpoint_dir, layout.step, layout.prefix) == (folder, 650, "")
    assert layout.tokenizer_dir == tokenizer
    assert layout.files == (pickle, *reversed(pair(folder, 650)))  # the weights last
    assert layout.notes == ()


def test_only_complete_pairs_count() -> None:
    paths = [*pair("", 700), "model_000719.pt", "meta_000800.json", "model_0000900.pt"]
    assert choose(paths).step == 700
    with pytest.raises(NanochatError, match=r"of step 719; steps there: 700$"):
        choose(paths, step=719)
    with pytest.raises(NanochatError, match=r"found: meta_000800.json, model_000719.pt$"):
        choose(["README.md", "model_000719.pt", "meta_000800.json"])


def test_the_newest_step_and_a_note_of_the_others() -> None:
    layout = choose(pair("", 20, 1_000_000, 399))
    assert layout.step == 1_000_000
    assert layout.notes == ("step 1000000, the newest, is used; also there: 20, 399",)
    asked = choose(pair("", 20, 1_000_000, 399), step=399)
    assert (asked.step, asked.notes) == (399, ())
    assert asked.files == ("meta_000399.json", "model_000399.pt")


def test_what_is_there_is_named() -> None:
    with pytest.raises(NanochatError, match=r"found: a.txt, b.txt$"):
        choose(["b.txt", "a.txt"])
    with pytest.raises(NanochatError, match=r"found: nothing$"):
        choose([])
    names = [f"{letter}/b/c/model_000001.pt" for letter in "abcdefgh"]
    with pytest.raises(NanochatError, match=r"f/b/c/model_000001.pt and 2 more$"):
        choose([*names, "z.txt"])


STAGES = {
    "base": "base_checkpoints",
    "mid": "mid_checkpoints",
    "sft": "chatsft_checkpoints",
    "rl": "chatrl_checkpoints",
}


def test_a_stage_that_is_asked_for() -> None:
    paths = [path for folder in STAGES.values() for path in pair(f"{folder}/d20", 1)]
    for stage, folder in STAGES.items():
        layout = choose(paths, stage=stage)
        assert (layout.checkpoint_dir, layout.notes) == (f"{folder}/d20", ())
    with pytest.raises(NanochatError, match="stage rl; there is: base, mid"):
        choose([*pair("base_checkpoints/d1", 1), *pair("mid_checkpoints/d1", 1)], stage="rl")
    with pytest.raises(NanochatError, match="unknown stage 'stf'; did you mean 'sft'"):
        choose(paths, stage="stf")


def test_of_several_stages_sft_or_none() -> None:
    paths = [path for folder in STAGES.values() for path in pair(f"{folder}/d20", 1)]
    layout = choose(paths)
    assert layout.checkpoint_dir == "chatsft_checkpoints/d20"
    assert layout.notes == ("stage sft is used; also there: stage base, mid, rl",)
    with pytest.raises(NanochatError, match=r"several stages .base, mid.: say which"):
        choose([*pair("base_checkpoints/d1", 1), *pair("mid_checkpoints/d1", 1)])


def test_files_with_a_stage_before_their_name_are_another_model() -> None:
    """The set that is published with a mid-trained model beside the fine-tuned one."""
    paths = [*pair("", 700), *pair("", 813, prefix="mid_"), "tokenizer/tokenizer.pkl"]
    layout = choose(paths)
    assert (layout.step, layout.prefix) == (700, "")
    assert layout.notes == ("what is of no stage is used; also there: stage mid",)
    assert choose(paths, stage="sft").files[-1] == "model_000700.pt"
    mid = choose(paths, stage="mid")
    assert (mid.step, mid.prefix, mid.checkpoint_dir) == (813, "mid_", "")
    assert mid.files == ("tokenizer/tokenizer.pkl", "mid_meta_000813.json", "mid_model_000813.pt")
    with pytest.raises(NanochatError, match="steps there: 700"):
        choose(paths, step=813)
    with pytest.raises(NanochatError, match="stage base; there is: mid"):
        choose(paths, stage="base")
    # Halves of two models are none.
    with pytest.raises(NanochatError, match="found"):
        choose(["mid_model_000813.pt", "meta_000813.json"])


def test_files_of_no_stage_are_taken_for_any_where_they_are_alone() -> None:
    for stage in STAGES:
        assert choose(pair("", 1), stage=stage).step == 1


def test_tags() -> None:
    paths = [
        path for tag in ("d4", "d20", "d9", "mine") for path in pair(f"base_checkpoints/{tag}", 1)
    ]
    layout = choose(paths)
    assert layout.checkpoint_dir == "base_checkpoints/d20"  # 20 > 9, though "d9" > "d20"
    there = "base_checkpoints/d4, base_checkpoints/d9, base_checkpoints/mine"
    assert layout.notes == (f"base_checkpoints/d20 is used; also there: {there}",)
    assert choose(paths, tag="mine").checkpoint_dir == "base_checkpoints/mine"
    assert choose(paths, tag="mine").notes == ()
    with pytest.raises(NanochatError, match="tag 'd5'; tags there: d20, d4, d9, mine"):
        choose(paths, tag="d5")
    with pytest.raises(NanochatError, match="tag 'd5'; tags there: none"):
        choose(pair("", 1), tag="d5")


def test_without_a_depth_the_tag_changed_last() -> None:
    paths = [*pair("old", 1), *pair("new", 1), *pair("older", 1)]
    times = {"old/model_000001.pt": 5.0, "new/meta_000001.json": 9.0, "older/model_000001.pt": 5.0}
    assert choose(paths, changed=times).checkpoint_dir == "new"
    with pytest.raises(NanochatError, match=r"several models .new, old, older.: say which tag"):
        choose(paths)


def test_the_top_comes_before_what_lies_deeper() -> None:
    layout = choose([*pair("checkpoints", 9), *pair("d20", 9), *pair("", 1)])
    assert (layout.checkpoint_dir, layout.step) == ("", 1)
    assert layout.notes == ("the top is used; also there: checkpoints, d20",)


def test_files_in_the_making_are_not_seen() -> None:
    paths = [*pair("", 1), *pair(".build.tmp", 2), ".model_000003.pt", "meta_000003.json"]
    layout = choose([*paths, ".build.tmp/tokenizer.pkl"])
    assert (layout.step, layout.notes, layout.tokenizer_dir) == (1, (), None)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], None),
        (["token_bytes.pt"], None),
        (["some/where/tokenizer.pkl"], "some/where"),
        (["a/tokenizer.pkl", "b/tokenizer.pkl"], None),  # either would be a guess
        (["tokenizer.json", "native/tokenizer.pkl"], "native"),  # another format's, and ours
        (["tokenizer.json"], ""),
        (["tokenizer/tokenizer.json", "old/tokenizer.pkl"], "tokenizer"),
        (["tokenizer/tokenizer.pkl", "m/tokenizer/tokenizer.pkl"], "m/tokenizer"),
        (["tokenizer.pkl", "m/tokenizer.pkl", "x/tokenizer.pkl"], "m"),
    ],
)
def test_tokenizers(paths: Any, expected: str | None) -> None:
    assert find_tokenizer(paths, "m") == expected


def test_all_files_of_the_tokenizer_are_taken() -> None:
    names = ["tokenizer/token_bytes.pt", "tokenizer/tokenizer.json", "tokenizer/tokenizer.pkl"]
    layout = choose([*pair("", 1), *names, "tokenizer/merges.txt", "token_bytes.pt"])
    assert list(layout.files[:-2]) == names


def test_every_error_is_one_line() -> None:
    for arguments in ({"step": 7}, {"tag": "x"}, {"stage": "nine"}):
        with pytest.raises(NanochatError) as caught:
            choose(pair("", 1), **arguments)
        assert not re.search(r"\n", str(caught.value))
