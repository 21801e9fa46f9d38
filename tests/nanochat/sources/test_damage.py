"""Flipped bits, and files that would run code: nothing loads as other values, nothing runs."""

import json
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.errors import NanochatError
from nanochat.files.digest import with_digest, without_digest
from nanochat.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from nanochat.sharing.published import save_model_folder, write_published_tokenizer
from nanochat.sharing.transformers_format import export_transformers, import_transformers
from nanochat.sources.load import load_model
from nanochat.tokenizer.tokenizer import Tokenizer

Values = tuple[str, int, str]


@pytest.fixture
def ours(tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer) -> Path:
    """A model folder that this package wrote."""
    save_model_folder(tmp_path / "ours", checkpoint, tokenizer, 400, {})
    return tmp_path / "ours"


def read_folder(folder: Path) -> Values:
    checkpoint, tokenizer = load_model(str(folder))
    return checkpoint.fingerprint, checkpoint.step, tokenizer.fingerprint


def read_transformers(folder: Path) -> Values:
    checkpoint, tokenizer = import_transformers(folder)
    return checkpoint.fingerprint, checkpoint.step, tokenizer.fingerprint


def read_json(folder: Path) -> Values:
    return "", 0, Tokenizer.load(folder).fingerprint


def flip_bits(path: Path, read: Callable[[], Values], count: int) -> int:
    """Flip bits one by one; return the number of files that were refused."""
    sound, expected, chance = path.read_bytes(), read(), random.Random(path.name)
    refused = 0
    for _ in range(count):
        place, bit = chance.randrange(len(sound)), chance.randrange(8)
        damaged = bytearray(sound)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            assert read() == expected, f"bit {bit} of byte {place} of {path.name}"
        except NanochatError as error:
            assert "\n" not in str(error)
            refused += 1
    path.write_bytes(sound)
    assert read() == expected
    return refused


@pytest.mark.filterwarnings("ignore")
def test_no_flipped_bit_of_weights_or_tokenizers_loads_as_another_value(
    ours: Path, tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    weights = ours / "checkpoints/model_000400.pt"
    assert flip_bits(weights, lambda: read_folder(ours), 60) >= 55
    counts = ours / "tokenizer/token_bytes.pt"
    assert flip_bits(counts, lambda: read_folder(ours), 20) > 5
    plain = ours / "tokenizer/tokenizer.json"
    (ours / "tokenizer/tokenizer.pkl").rename(tmp_path / "tokenizer.pkl")
    assert flip_bits(plain, lambda: read_json(plain.parent), 30) > 15
    published = tmp_path / "tokenizer.pkl"
    assert flip_bits(published, lambda: read_json(tmp_path), 30) > 25
    export_transformers(checkpoint, tokenizer, tmp_path / "hf")
    tensors = tmp_path / "hf/model.safetensors"
    assert flip_bits(tensors, lambda: read_transformers(tmp_path / "hf"), 40) >= 38
    theirs = tmp_path / "hf/tokenizer.json"
    assert flip_bits(theirs, lambda: read_transformers(tmp_path / "hf"), 20) > 5


def test_a_changed_weight_is_refused_by_name(ours: Path, checkpoint: Checkpoint) -> None:
    path = ours / "checkpoints/model_000400.pt"
    meta = path.with_name("meta_000400.json")
    assert json.loads(meta.read_text())["model_fingerprint"] == checkpoint.fingerprint
    state = torch.load(path, weights_only=True)
    state["lm_head.weight"][3, 4] += 1e-3
    torch.save(state, path)
    with pytest.raises(NanochatError, match=r"model_000400\.pt: its weights .*; take a sound copy"):
        load_checkpoint(path.parent)
    content = json.loads(meta.read_text())
    del content["model_fingerprint"]  # as the message says; so are files of nanochat itself
    meta.write_text(json.dumps(content))
    changed = load_checkpoint(path.parent)
    assert changed.fingerprint != checkpoint.fingerprint
    save_checkpoint(path.parent, changed, 400, checkpoint.meta)
    assert load_checkpoint(path.parent).fingerprint == changed.fingerprint


def test_a_changed_config_is_refused_by_name(ours: Path) -> None:
    path = ours / "checkpoints/meta_000400.json"
    content = json.loads(path.read_text())
    content["model_config"]["sequence_len"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(NanochatError, match="their config are not those that were saved"):
        load_checkpoint(path.parent)


def test_a_changed_tokenizer_is_refused_by_name(ours: Path, tokenizer: Tokenizer) -> None:
    path = ours / "tokenizer/tokenizer.json"
    content = json.loads(path.read_text())
    tokens = content["tokens_base64"]
    tokens[-1], tokens[-2] = tokens[-2], tokens[-1]
    path.write_text(json.dumps(content))
    with pytest.raises(NanochatError, match=r"tokenizer\.json is damaged, or was changed: .*sound"):
        Tokenizer.load(path.parent)
    del content["fingerprint"]
    path.write_text(json.dumps(content))
    assert Tokenizer.load(path.parent).fingerprint != tokenizer.fingerprint
    published = ours / "tokenizer/tokenizer.pkl"
    path.unlink()
    sound = published.read_bytes()
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    published.write_bytes(damaged)
    with pytest.raises(NanochatError, match=r"tokenizer\.pkl is refused: it is damaged, or was ch"):
        Tokenizer.load(path.parent)


def test_digests_at_the_end() -> None:
    assert without_digest(with_digest(b"content")) == b"content"
    assert without_digest(b"content") == b"content"
    assert without_digest(b"") == b""
    with pytest.raises(NanochatError, match="it is damaged, or was changed"):
        without_digest(with_digest(b"content").replace(b"con", b"cot"))


def test_nanochat_reads_what_carries_digests(
    ours: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    """What nanochat's `load_checkpoint` and `RustBPETokenizer.from_directory` call."""
    state = torch.load(ours / "checkpoints/model_000400.pt", map_location="cpu")
    assert state.keys() == checkpoint.state.keys()
    meta = json.loads((ours / "checkpoints/meta_000400.json").read_text())
    assert meta["model_config"] == vars(checkpoint.config)
    with (ours / "tokenizer/tokenizer.pkl").open("rb") as file:
        encoding = pickle.load(file)
    assert encoding.encode_ordinary("Hello, world!") == tokenizer.encode("Hello, world!")


class _Call:
    """A call of a function when a pickle is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def plant_weights(folder: Path, call: _Call) -> None:
    torch.save({"lm_head.weight": torch.ones(2), "x": call}, folder / "checkpoints/model_000400.pt")


def plant_old_weights(folder: Path, call: _Call) -> None:
    path = folder / "checkpoints/model_000400.pt"
    torch.save({"lm_head.weight": call}, path, _use_new_zipfile_serialization=False)


def plant_counts(folder: Path, call: _Call) -> None:
    torch.save(call, folder / "tokenizer/token_bytes.pt")


def plant_old_counts(folder: Path, call: _Call) -> None:
    (folder / "tokenizer/token_bytes.pt").write_bytes(pickle.dumps(call))


def plant_tokenizer(folder: Path, call: _Call) -> None:
    (folder / "tokenizer/tokenizer.json").unlink()
    (folder / "tokenizer/tokenizer.pkl").write_bytes(with_digest(pickle.dumps(call)))


def plant_json(folder: Path, call: _Call) -> None:
    (folder / "tokenizer/tokenizer.pkl").unlink()
    (folder / "tokenizer/tokenizer.json").write_bytes(pickle.dumps(call))


def plant_meta(folder: Path, call: _Call) -> None:
    (folder / "checkpoints/meta_000400.json").write_bytes(pickle.dumps(call))


@pytest.mark.parametrize(
    "plant",
    [
        plant_weights,
        plant_old_weights,
        plant_counts,
        plant_old_counts,
        plant_tokenizer,
        plant_json,
        plant_meta,
    ],
)
def test_no_file_of_a_model_runs_code(
    ours: Path, tmp_path: Path, plant: Callable[[Path, _Call], None]
) -> None:
    mark = tmp_path / "mark"
    plant(ours, _Call(mark))
    with pytest.raises(NanochatError) as caught:
        load_model(str(ours))
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_the_state_of_an_optimizer_is_not_opened(
    ours: Path, tmp_path: Path, checkpoint: Checkpoint
) -> None:
    mark = tmp_path / "mark"
    torch.save(_Call(mark), ours / "checkpoints/optim_000400.pt")
    torch.save(_Call(mark), ours / "checkpoints/optim_000400_rank0.pt")
    assert read_folder(ours)[0] == checkpoint.fingerprint
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["weights", "shard", "bin", "tokenizer", "config"])
def test_no_file_of_transformers_runs_code(
    tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer, kind: str
) -> None:
    folder, mark = tmp_path / "hf", tmp_path / "mark"
    export_transformers(checkpoint, tokenizer, folder)
    content = pickle.dumps(_Call(mark))
    weights = folder / "model.safetensors"
    if kind in ("shard", "bin"):
        weights.unlink()
        name = "a.safetensors" if kind == "shard" else "pytorch_model.bin"
        index = {"weight_map": {"lm_head.weight": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        torch.save({"lm_head.weight": _Call(mark)}, folder / name)
    else:
        names = {"weights": weights.name, "tokenizer": "tokenizer.json", "config": "config.json"}
        (folder / names[kind]).write_bytes(content)
    with pytest.raises(NanochatError) as caught:
        import_transformers(folder)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_shards_of_conversations_run_no_code(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Arrow keeps types of Python in the schema, which older versions unpickled."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from nanochat.data.conversations import load_conversations
    from nanochat.data.nested_shards import write_shards

    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    (path,) = write_shards([talk], tokenizer, [1], tmp_path / "shards", 64)
    mark = tmp_path / "mark"
    table = pq.read_table(path)
    extension = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(_Call(mark)),
    }
    fields = [each.with_metadata(extension) for each in table.schema]
    pq.write_table(table.cast(pa.schema(fields, metadata=table.schema.metadata)), path)
    assert b"py_extension_type" in path.read_bytes() or b"ARROW:schema" in path.read_bytes()
    assert load_conversations(str(path.parent)) == [talk]
    assert not mark.exists()


def test_tokenizers_without_digests_are_read(
    tmp_path: Path, golden_folder: Path, tokenizer: Tokenizer
) -> None:
    shutil.copytree(golden_folder / "tokenizer", tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == tokenizer.fingerprint
    write_published_tokenizer(tokenizer, tmp_path / "t")
    assert Tokenizer.load(tmp_path / "t").fingerprint == tokenizer.fingerprint
