"""Properties of the layout of any source: chosen files exist, and order does not matter."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import NanochatError
from nanochat.files.checkpoint_layout import STAGE_FOLDERS, choose

FOLDERS = ["", "checkpoints", "d4", "d20", "mine"]
FOLDERS += [f"{stage}/{tag}" for stage in STAGE_FOLDERS.values() for tag in ("d4", "d20", "mine")]
NAMES = [f"{prefix}{kind}" for prefix in ("", "mid_") for kind in ("model_{}.pt", "meta_{}.json")]
NAMES += ["optim_{}.pt", "tokenizer.pkl", "tokenizer/tokenizer.json"]
PATHS = st.builds(
    lambda folder, name, step: f"{folder}/{name}".lstrip("/").format(f"{step:06d}"),
    st.sampled_from(FOLDERS),
    st.sampled_from(NAMES),
    st.integers(1, 3),
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "stage": st.sampled_from(list(STAGE_FOLDERS)),
        "tag": st.sampled_from(["d4", "d20", "mine"]),
        "step": st.integers(1, 3),
    },
)


@given(st.lists(PATHS, unique=True, max_size=30), OPTIONS, st.randoms(use_true_random=False))
def test_the_choice_is_complete_obeys_and_does_not_depend_on_order(
    paths: Any, options: Any, random: Any
) -> None:
    shuffled = random.sample(paths, len(paths))
    try:
        layout = choose(paths, **options)
    except NanochatError as error:
        message = str(error)
        try:
            choose(shuffled, **options)
        except NanochatError as again:
            assert str(again) == message
        else:
            raise AssertionError(f"only one order is refused: {message}") from error
        return
    other = choose(shuffled, **options)
    assert other.tokenizer_dir == layout.tokenizer_dir
    assert (other.files[-2:], other.notes) == (layout.files[-2:], layout.notes)
    assert set(layout.files) <= set(paths)
    start = f"{layout.checkpoint_dir}/".lstrip("/") + layout.prefix
    assert layout.files[-1] == f"{start}model_{layout.step:06d}.pt"
    assert layout.files[-2] == f"{start}meta_{layout.step:06d}.json"
    assert not any("optim" in path for path in layout.files)
    assert options.get("step", layout.step) == layout.step
    if "tag" in options:
        assert layout.checkpoint_dir.endswith(options["tag"])
    if "stage" in options:
        folder = layout.checkpoint_dir.split("/")[0]
        told = {name: stage for stage, name in STAGE_FOLDERS.items()}.get(folder)
        told = layout.prefix.removesuffix("_") or told
        assert told in (None, options["stage"])
