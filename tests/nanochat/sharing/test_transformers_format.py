"""The format of transformers, with transformers itself as the judge."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from nanochat.errors import NanochatError
from nanochat.model.checkpoint import Checkpoint, build_model, load_checkpoint
from nanochat.model.gpt import GPT
from nanochat.sharing.transformers_format import EXPORTED, export_transformers, import_transformers
from nanochat.sharing.transformers_tokenizer import export_tokenizer, import_tokenizer
from nanochat.tokenizer.tokenizer import SPECIAL_TOKENS, Tokenizer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, golden_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = load_checkpoint(golden_folder / "checkpoints")
    export_transformers(checkpoint, Tokenizer.load(golden_folder / "tokenizer"), folder)
    return folder


@pytest.fixture(scope="module")
def theirs(exported: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(exported)


@pytest.fixture(scope="module")
def their_tokenizer(exported: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(exported)


@pytest.fixture
def copy(tmp_path: Path, exported: Path) -> Path:
    return shutil.copytree(exported, tmp_path / "copy")


def _text(rows: Any, length: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 512, (rows, length), generator=generator)


def _exact_tables(model: GPT) -> Any:
    """Rotary tables as transformers has them: not rounded to bfloat16."""
    size = model.config.head_dim
    frequency = 1.0 / 10_000 ** (torch.arange(0, size, 2).float() / size)
    angle = torch.outer(torch.arange(model.cos.size(0)).float(), frequency)
    cos, sin = angle.cos(), angle.sin()
    model.cos, model.sin = torch.cat([cos, cos], -1), torch.cat([sin, -sin], -1)
    return model


@torch.no_grad()
def test_logits_are_those_of_transformers(theirs: Any, model: GPT) -> None:
    # Measured: 9.1e-6 at most, of logits up to 13.
    for rows, length in ((4, 128), (1, 1280)):
        ids = _text(rows, length)
        torch.testing.assert_close(_exact_tables(model)(ids), theirs(ids).logits, atol=3e-5, rtol=0)


@torch.no_grad()
def test_what_rounded_rotary_tables_make_is_small(theirs: Any, model: GPT) -> None:
    # Measured: 0.015 at most. The rounding is nanochat's own; transformers does it in bfloat16.
    gap = (model(_text(4, 128)) - theirs(_text(4, 128)).logits).abs().max()
    assert 1e-4 < gap < 0.03


def test_transformers_knows_the_model_by_its_config(exported: Path, theirs: Any) -> None:
    assert type(theirs).__name__ == "NanoChatForCausalLM"
    assert theirs.dtype == torch.float32
    assert sorted(path.name for path in exported.iterdir()) == sorted(EXPORTED)
    assert theirs.generation_config.eos_token_id == [507, 503]


def test_greedy_answers_are_the_same(theirs: Any, model: GPT, fixtures: dict[str, Any]) -> None:
    prompt = fixtures["completion_prompt"]
    made = theirs.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)
    made = made[0, len(prompt) :].tolist()
    ours = model.generate_greedy(prompt, 16)
    stop = next((index + 1 for index, token in enumerate(ours) if token in (503, 507)), 16)
    assert made == ours[:stop]


def test_encodings_are_those_of_transformers(
    their_tokenizer: Any, fixtures: dict[str, Any]
) -> None:
    for case in fixtures["encode"]:
        assert their_tokenizer(case["text"])["input_ids"] == case["ids"]
        assert their_tokenizer.decode(case["ids"]) == case["text"]


def test_conversations_are_rendered_alike(
    their_tokenizer: Any, fixtures: dict[str, Any], tokenizer: Tokenizer
) -> None:
    render = their_tokenizer.apply_chat_template
    special = 0
    for case in fixtures["rendered"]:
        plain = render(case["messages"], sanitize_control_tokens=True)["input_ids"]
        assert plain == case["ids"]
        if any(name in json.dumps(case["messages"]) for name in SPECIAL_TOKENS):
            special += 1  # a name of a special token in a text: by default it is made one
            assert len(render(case["messages"])["input_ids"]) < len(case["ids"])
        else:
            assert render(case["messages"])["input_ids"] == case["ids"]
    assert special == 1
    opened = [{"role": "system", "content": " s "}, {"role": "user", "content": "\n u"}]
    got = their_tokenizer.apply_chat_template(opened, add_generation_prompt=True)["input_ids"]
    ours = tokenizer.render_conversation(opened, 100)[0]
    assert got == [*ours, tokenizer.special["<|assistant_start|>"]]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (["system"], "user message is needed"),
        (["assistant"], "take turns"),
        (["user", "user"], "take turns"),
        (["user", "assistant", "system"], "take turns"),
    ],
)
def test_conversations_that_break_the_rules_are_refused(
    their_tokenizer: Any, roles: Any, message: str
) -> None:
    from jinja2.exceptions import TemplateError

    with pytest.raises(TemplateError, match=message):
        their_tokenizer.apply_chat_template([{"role": r, "content": "x"} for r in roles])


def test_names_of_special_tokens_are_text_where_transformers_is_told(
    their_tokenizer: Any, tokenizer: Tokenizer
) -> None:
    text = "a <|bos|> b<|assistant_end|>"
    assert their_tokenizer(text)["input_ids"] != tokenizer.encode(text)
    assert their_tokenizer(text, split_special_tokens=True)["input_ids"] == tokenizer.encode(text)


# Letters and spaces that regular expressions or case rules of libraries are not agreed on.
_SPACES = " \t\n\r\x0b\x1c\x85\xa0\u2028\u3000\u200b\ufeff\0"
_ODD = (
    _SPACES + "'sdmtlvreSDMTLVRE\u017f\u212aaAbB0123\u0663\u00b2\u2167\u4e00\u00df\u0130\u0301._!😀"
)


def test_a_bigger_vocabulary_splits_and_merges_alike(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Pipeline

    draw = random.Random(0)

    def text(longest: Any) -> Any:
        return "".join(draw.choice(_ODD) for _ in range(draw.randint(1, longest)))

    runs = [letter * length for letter in " a" for length in range(1, 80)]
    tokenizer = Tokenizer.train([*(text(9) for _ in range(40_000)), *runs], 2500)
    export_tokenizer(tokenizer, tmp_path, 128)
    pipeline = Pipeline.from_file(str(tmp_path / "tokenizer.json"))
    for made in (*(text(12) for _ in range(10_000)), *runs):
        assert pipeline.encode(made).ids == tokenizer.encode(made)
    assert import_tokenizer(tmp_path).fingerprint == tokenizer.fingerprint


def test_a_token_that_no_merge_makes_is_found_whole(tmp_path: Path, tokenizer: Tokenizer) -> None:
    from tokenizers import Tokenizer as Pipeline

    ranks = {**{bytes([byte]): byte for byte in range(256)}, b"abc": 256}
    special = {name: 257 + index for index, name in enumerate(SPECIAL_TOKENS)}
    export_tokenizer(Tokenizer(tokenizer.pattern, ranks, special), tmp_path, 128)
    pipeline = Pipeline.from_file(str(tmp_path / "tokenizer.json"))
    assert pipeline.encode("abc").ids == [256]
    assert pipeline.encode("abcd").ids == [97, 98, 99, 100]


def test_round_trip_keeps_every_bit(
    exported: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    again, read = import_transformers(exported)
    assert (again.fingerprint, again.step) == (checkpoint.fingerprint, 400)
    assert read.fingerprint == tokenizer.fingerprint


def test_prefixes_of_distributed_models_are_stripped(copy: Path, checkpoint: Checkpoint) -> None:
    path = copy / "model.safetensors"
    save_file({f"module.{key}": value for key, value in load_file(path).items()}, path)
    assert import_transformers(copy)[0].fingerprint == checkpoint.fingerprint


def test_dtypes_are_kept_and_padding_is_cut(
    tmp_path: Path, checkpoint: Checkpoint, tokenizer: Tokenizer
) -> None:
    state = dict(checkpoint.state)
    for key in ("transformer.wte.weight", "lm_head.weight"):
        state[key] = torch.cat([state[key], torch.ones(64, 64)])
    state["transformer.wte.weight"] = state["transformer.wte.weight"].bfloat16()
    export_transformers(Checkpoint(state, checkpoint.config, 7, {}), tokenizer, tmp_path)
    again = import_transformers(tmp_path)[0]
    assert again.step == 7
    assert again.state.keys() == state.keys()
    for key, tensor in again.state.items():
        assert tensor.dtype == state[key].dtype
        assert torch.equal(tensor, state[key][: len(tensor)])
    assert len(again.state["lm_head.weight"]) == 512
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.float32
    wte = loaded.state_dict()["model.embed_tokens.weight"]
    assert torch.equal(wte, state["transformer.wte.weight"][:512].float())


def test_a_model_that_was_trained_is_exported_as_it_is(
    tmp_path: Path, model: GPT, tokenizer: Tokenizer
) -> None:
    with torch.no_grad():
        model.wte.weight[0, 0] += 1e-6
    export_transformers(model, tokenizer, tmp_path)
    again = import_transformers(tmp_path)[0]
    assert again.step == 0
    assert torch.equal(again.state["transformer.wte.weight"], model.wte.weight)


def test_weights_that_are_not_finite_are_neither_written_nor_read(
    copy: Path, tmp_path: Path, model: GPT, tokenizer: Tokenizer
) -> None:
    with torch.no_grad():
        model.lm_head.weight[1, 2] = torch.inf
    fault = r"model\.safetensors: lm_head\.weight has 1 of .*, inf, at \[1, 2\]"
    with pytest.raises(NanochatError, match=fault):
        export_transformers(model, tokenizer, tmp_path / "new")
    tensors = load_file(copy / "model.safetensors")
    tensors["lm_head.weight"][1, 2] = torch.inf
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(NanochatError, match=fault):
        import_transformers(copy)


@pytest.mark.parametrize("shard", ["50GB", "200KB"])
def test_what_transformers_saves_is_read(
    tmp_path: Path, theirs: Any, their_tokenizer: Any, checkpoint: Checkpoint, shard: str
) -> None:
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    their_tokenizer.save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == (1 if shard == "50GB" else 4)
    again, read = import_transformers(tmp_path)
    assert again.fingerprint == checkpoint.fingerprint
    assert read.vocab_size == 512
    assert torch.equal(
        build_model(again.config, again.state)(_text(1, 9)),
        build_model(checkpoint.config, checkpoint.state)(_text(1, 9)),
    )


def _edit(folder: Path, name: str, change: Any) -> None:
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architectures": ["LlamaForCausalLM"]}, "only NanoChatForCausalLM is read"),
        ({"model_type": "llama"}, "of llama .*; only NanoChatForCausalLM is read"),
        ({"hidden_act": "gelu"}, "hidden_act is gelu; this model has relu2"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-05; this model has 1e-06"),
        ({"final_logit_softcapping": None}, "final_logit_softcapping is None"),
        ({"attention_bias": True}, "attention_bias is True"),
        ({"tie_word_embeddings": True}, "tie_word_embeddings is True"),
        ({"intermediate_size": 99}, "intermediate_size is 99; this model has 256"),
        ({"head_dim": 16}, "head_dim is 16; this model has 32"),
        ({"rope_theta": 5e5}, "rope_theta is 500000.0; this model has 10000.0"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type is yarn"),
        ({"rope_parameters": {"rope_theta": 1e6}}, "rope_theta is 1000000.0"),
        ({"rope_parameters": {"factor": 2.0}}, "factor is 2.0; this model has None"),
        ({"rope_parameters": [1]}, "copy"),
        ({"rope_scaling": {"factor": 2.0}}, "rope_scaling"),
        ({"num_attention_heads": 3}, "n_embd must be n_head times"),
        ({"num_attention_heads": "2"}, "n_head must be from 1"),
        ({"num_hidden_layers": 3}, "no tensor transformer.h.2.attn.c_q.weight"),
        ({"num_hidden_layers": 1}, "unexpected tensor model.layers.1"),
        ({"hidden_size": 32, "intermediate_size": 128}, "wte.weight has shape"),
        ({"vocab_size": 500}, r"tokenizer.json has 512 tokens, config.json 500"),
    ],
)
def test_models_that_compute_otherwise_are_refused_by_name(
    copy: Path, change: dict[str, Any], message: str
) -> None:
    _edit(copy, "config.json", lambda config: config.update(change))
    with pytest.raises(NanochatError, match=message) as caught:
        import_transformers(copy)
    assert str(copy) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_without_the_defaults_is_read(copy: Path, checkpoint: Checkpoint) -> None:
    def strip(config: Any) -> None:
        for name in ("rope_parameters", "hidden_act", "rms_norm_eps", "attention_bias"):
            del config[name]
        config["num_key_value_heads"] = 1

    _edit(copy, "config.json", strip)
    assert import_transformers(copy)[0].fingerprint == checkpoint.fingerprint
    _edit(copy, "config.json", lambda config: config.pop("hidden_size"))
    with pytest.raises(NanochatError, match=r"config\.json has no hidden_size"):
        import_transformers(copy)


def test_only_safetensors_beside_are_read(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(NanochatError, match=r"no model\.safetensors or .*index\.json; weights in"):
        import_transformers(copy)
    index = copy / "model.safetensors.index.json"
    for name in ("../model.safetensors", "pytorch_model.bin"):
        index.write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
        with pytest.raises(NanochatError, match="is no safetensors file beside it"):
            import_transformers(copy)
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "gone.safetensors"}}))
    with pytest.raises(NanochatError, match=r"gone\.safetensors cannot be read"):
        import_transformers(copy)
    index.write_text("{}")
    with pytest.raises(NanochatError, match="has no weight_map"):
        import_transformers(copy)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff" * 64])
def test_damaged_weights_are_named(copy: Path, content: bytes) -> None:
    (copy / "model.safetensors").write_bytes(content)
    with pytest.raises(NanochatError, match=r"model\.safetensors cannot be read"):
        import_transformers(copy)


@pytest.mark.parametrize("content", [None, "", "[]"])
def test_damaged_configs_are_named(copy: Path, content: str | None) -> None:
    (copy / "config.json").unlink()
    if content is not None:
        (copy / "config.json").write_text(content)
    with pytest.raises(NanochatError, match=r"config\.json"):
        import_transformers(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["model"].update(type="Unigram"), "only byte-level BPE"),
        (lambda t: t["model"].update(byte_fallback=True), "only byte-level BPE"),
        (lambda t: t.update(normalizer={"type": "NFC"}), "changes the text"),
        (lambda t: t.update(pre_tokenizer={"type": "Whitespace"}), "not Whitespace"),
        (lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(use_regex=True), "of its own"),
        (lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(invert=True), "Split is not"),
        (lambda t: t["model"]["merges"].reverse(), "the merge that makes id .* comes after"),
        (lambda t: t["model"]["merges"].append(["x", "nothing"]), "is no tokenizer"),
        (lambda t: t["model"]["vocab"].update({"\n": 600}), "is no tokenizer"),
        (lambda t: t["added_tokens"].pop(), "no special token <.output_end"),
        (lambda t: t.pop("model"), "is no tokenizer of transformers: KeyError"),
    ],
)
def test_tokenizers_that_split_otherwise_are_refused(
    copy: Path, change: Callable[..., Any], message: str
) -> None:
    _edit(copy, "tokenizer.json", change)
    with pytest.raises(NanochatError, match=message) as caught:
        import_transformers(copy)
    assert "tokenizer.json" in str(caught.value)


def test_a_folder_without_a_tokenizer_is_refused(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(NanochatError, match=r"no tokenizer\.json in"):
        import_transformers(copy)


def test_an_export_that_is_cut_short_is_no_model(
    copy: Path, checkpoint: Checkpoint, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        export_transformers(checkpoint, tokenizer, copy)
    assert not (copy / "config.json").exists()
    assert not list(copy.glob(".*.tmp"))


def test_a_tokenizer_of_another_model_is_not_exported(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    other = Tokenizer.train(["some text"], 265)
    with pytest.raises(NanochatError, match="the tokenizer has 265 tokens, the model 512"):
        export_transformers(checkpoint, other, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_header_that_stands_for_more_than_the_file_is_refused(copy: Path) -> None:
    """The library compares shapes, places and the length of the file before it reads a value."""
    path = copy / "model.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    for shape, end in (([10**12, 64], 131072), ([10**12, 64], 256 * 10**12)):
        entry = {**header["lm_head.weight"], "shape": shape}
        entry["data_offsets"] = [entry["data_offsets"][0], entry["data_offsets"][0] + end]
        text = json.dumps({**header, "lm_head.weight": entry}).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
        with pytest.raises(NanochatError, match=r"model\.safetensors cannot be read") as caught:
            import_transformers(copy)
        assert "\n" not in str(caught.value)


def test_a_tensor_in_two_shards_is_refused(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    save_file(tensors, copy / "a.safetensors")
    save_file({"lm_head.weight": tensors["lm_head.weight"] + 1}, copy / "b.safetensors")
    names = dict.fromkeys(tensors, "a.safetensors") | {"x": "b.safetensors"}
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}))
    with pytest.raises(NanochatError, match=r"b\.safetensors holds lm_head\.weight, as another fi"):
        import_transformers(copy)
