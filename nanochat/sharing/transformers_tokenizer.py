"""Tokenizers in the files that transformers reads: ``tokenizer.json``, ``tokenizer_config.json``.

Both libraries merge bytes alike; only the tokens are written differently (bytes spelt as
printable letters) and the merges, which nanochat keeps only as ranks.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.errors import NanochatError, first_line, missing_library, shortened
from nanochat.files.atomic import write_atomically
from nanochat.files.git_lfs import refuse_pointer
from nanochat.files.panics import panics_as_errors
from nanochat.tokenizer.tokenizer import Tokenizer

BOS, END = "<|bos|>", "<|assistant_end|>"

# As `Tokenizer.render_conversation`, in the words of Jinja; blocks take their line's end with them.
CHAT_TEMPLATE = """\
{{- '<|bos|>' -}}
{%- set lead = namespace(text='') -%}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- set lead.text = messages[0]['content'] + '\\n\\n' -%}
    {%- set messages = messages[1:] -%}
{%- endif -%}
{%- if not messages -%}
    {{- raise_exception('a user message is needed') -}}
{%- endif -%}
{%- for message in messages -%}
    {%- if message['role'] != ('user' if loop.index0 % 2 == 0 else 'assistant') -%}
        {{- raise_exception('user and assistant must take turns, the user first') -}}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{- '<|user_start|>' + lead.text + message['content'] + '<|user_end|>' -}}
        {%- set lead.text = '' -%}
    {%- else -%}
        {{- '<|assistant_start|>' -}}
        {%- if message['content'] is string -%}
            {{- message['content'] -}}
        {%- else -%}
            {%- for part in message['content'] -%}
                {%- if part['type'] == 'python' -%}
                    {{- '<|python_start|>' + part['text'] + '<|python_end|>' -}}
                {%- elif part['type'] == 'python_output' -%}
                    {{- '<|output_start|>' + part['text'] + '<|output_end|>' -}}
                {%- else -%}
                    {{- part['text'] -}}
                {%- endif -%}
            {%- endfor -%}
        {%- endif -%}
        {{- '<|assistant_end|>' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|assistant_start|>' -}}
{%- endif -%}
"""


def export_tokenizer(tokenizer: Tokenizer, folder: Path, longest: int) -> None:
    """Write a tokenizer that gives the same ids through ``AutoTokenizer``.

    Its chat template renders conversations as `Tokenizer.render_conversation` does. One thing is
    not alike: transformers reads the names of special tokens in a text as these tokens, unless it
    is called with ``split_special_tokens=True`` (``sanitize_control_tokens=True``, from version
    5.20 on, where it renders a conversation); `Tokenizer.encode` never does.

    Parameters
    ----------
    folder
        Made if needed.
    longest
        Tokens of the longest text; beyond it transformers warns.
    """
    try:
        from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
        from tokenizers import Tokenizer as Pipeline
    except ModuleNotFoundError as error:
        raise missing_library("nanochat export", "tokenizers", "export") from error

    letters = _letters()
    spelt = {token: "".join(letters[byte] for byte in token) for token in tokenizer.ranks}
    merges = [(spelt[left], spelt[right]) for left, right in _merges(tokenizer.ranks)]
    vocab = {spelt[token]: rank for token, rank in tokenizer.ranks.items()}
    names = sorted(tokenizer.special, key=tokenizer.special.__getitem__)
    try:
        with panics_as_errors(_cannot_write):
            # As in tiktoken: a piece that is a token is that token, whatever its merges give.
            pipeline = Pipeline(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
            split = pre_tokenizers.Split(Regex(tokenizer.pattern), "isolated")
            by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            pipeline.pre_tokenizer = pre_tokenizers.Sequence([split, by_bytes])
            pipeline.decoder = decoders.ByteLevel()
            tokens = [AddedToken(name, special=True, normalized=False) for name in names]
            pipeline.add_special_tokens(tokens)
    except NanochatError:
        raise
    except Exception as error:  # the library's own error for a pattern that it cannot read
        raise NanochatError(_cannot_write(first_line(error))) from error
    written = {name: pipeline.token_to_id(name) for name in names}
    if written != tokenizer.special:
        raise NanochatError(
            f"special tokens must have the last ids, {written}, not {tokenizer.special}"
        )
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": END,
        "pad_token": END,
        "additional_special_tokens": [name for name in names if name not in (BOS, END)],
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    text = pipeline.to_str(pretty=True)
    write_atomically(Path(folder) / "tokenizer.json", lambda file: file.write(text.encode()))
    text = json.dumps(config, indent=2) + "\n"
    path = Path(folder) / "tokenizer_config.json"
    write_atomically(path, lambda file: file.write(text.encode()))


def _cannot_write(reason: str) -> str:
    return f"the tokenizer cannot be written in the format of transformers: {reason}"


def import_tokenizer(folder: Path) -> Tokenizer:
    """Read the tokenizer of a ``tokenizer.json`` of transformers; ids and fingerprint stay equal.

    Raises
    ------
    NanochatError
        Names the file, and what in it cannot be done with ranks alone: another kind of model, a
        normaliser, another way of splitting, merges that are not in the order of their ids.
    """
    path = Path(folder) / "tokenizer.json"
    refuse_pointer(path)
    try:
        content = json.loads(path.read_bytes())
        return _import(content)
    except OSError as error:
        raise NanochatError(f"no tokenizer.json in {folder}") from error
    except NanochatError as error:
        raise NanochatError(f"{path}: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NanochatError(
            f"{path} is no tokenizer of transformers: {shortened(repr(error))}"
        ) from error


def _import(content: Mapping[str, Any]) -> Tokenizer:
    model = content["model"]
    if model["type"] != "BPE" or model.get("byte_fallback") or model.get("unk_token"):
        raise NanochatError("only byte-level BPE is read")
    if content.get("normalizer") is not None:
        raise NanochatError("it changes the text before it splits it (normalizer)")
    special = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
    bytes_of = {letter: byte for byte, letter in _letters().items()}
    vocab = {name: rank for name, rank in model["vocab"].items() if name not in special}
    ranks = {bytes(bytes_of[letter] for letter in name): vocab[name] for name in vocab}
    _check_merges(model["merges"], model["vocab"])
    return Tokenizer(_pattern(content["pre_tokenizer"]), ranks, special)


def _pattern(pre_tokenizer: Mapping[str, Any]) -> str:
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    kinds = [step["type"] for step in steps]
    if kinds != ["Split", "ByteLevel"]:
        raise NanochatError(f"pre-tokenizers must be Split, ByteLevel, not {', '.join(kinds)}")
    split, by_bytes = steps
    if by_bytes["use_regex"] or by_bytes["add_prefix_space"]:
        raise NanochatError("ByteLevel splits, or adds a space, of its own")
    if split["behavior"] != "Isolated" or split["invert"] or "Regex" not in split["pattern"]:
        raise NanochatError("Split is not of the kind Isolated, by a regular expression")
    return split["pattern"]["Regex"]


def _check_merges(merges: list[Any], vocab: Mapping[str, int]) -> None:
    last = -1
    for merge in merges:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        made = vocab[left + right]
        if made < last:
            raise NanochatError(f"the merge that makes id {made} comes after that of id {last}")
        last = made


def _merges(ranks: Mapping[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Return every pair of tokens that merges into a third, in the order of the merged token.

    All pairs, not only the one that training met: tiktoken joins whatever gives a token.
    """
    return [
        (token[:cut], token[cut:])
        for token in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(token))
        if token[:cut] in ranks and token[cut:] in ranks
    ]


def _letters() -> dict[int, str]:
    """Return a printable letter for every byte: Latin-1, or one from 256 up for the others."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(others)}}
