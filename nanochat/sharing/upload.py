"""A model folder sent to the Hugging Face hub, in the flat layout of nanochat's published models.

model_000700.pt  meta_000700.json  tokenizer/...  README.md  [mid_model_*.pt  mid_meta_*.json]
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from nanochat.errors import NanochatError, quoted
from nanochat.files.hub import split_revision
from nanochat.files.links import leads_out
from nanochat.files.retry import (
    command_online,
    is_network_fault,
    is_offline,
    offline_note,
    with_retries,
)
from nanochat.model.checkpoint import Checkpoint
from nanochat.sharing.published import TOKENIZER_FILES, write_published_tokenizer
from nanochat.tokenizer.tokenizer import Tokenizer

Result = TypeVar("Result")

_LOG_IN = "log in with `hf auth login`, set HF_TOKEN, or give --token"
_CARD = """\
---
library_name: nanochat
pipeline_tag: text-generation
tags:
- nanochat
---
# {name}

A nanochat model: step {step:,}, {parameters:,} parameters.

| {columns} |
|{rules}|
| {values} |

It is read from here as it is, by the source `hf:{repository}`:

```
nanochat export --model hf:{repository} --out {name} --format transformers
```

```python
from nanochat.sources.load import load_model

checkpoint, tokenizer = load_model("hf:{repository}")
```

In `meta_{step:06d}.json`:

```json
{meta}
```
"""


@dataclass(frozen=True)
class LocalModel:
    """Model of a folder, read and checked.

    Attributes
    ----------
    folder
        Folder as the user names it; its ``README.md`` is the card.
    checkpoint_dir
        Folder with the two files of `checkpoint`.
    tokenizer
        Tokenizer that belongs to `checkpoint` (`nanochat.sources.pairing.check_pair`).
    """

    folder: Path
    checkpoint_dir: Path
    checkpoint: Checkpoint
    tokenizer: Tokenizer

    def files(self, prefix: str = "") -> dict[str, Path]:
        """Return the two files of the checkpoint by their names on the hub."""
        step = self.checkpoint.step
        names = f"model_{step:06d}.pt", f"meta_{step:06d}.json"
        return {prefix + name: self.checkpoint_dir / name for name in names}


def upload_model(
    model: LocalModel,
    repo: str,
    *,
    token: str | None = None,
    private: bool = False,
    message: str | None = None,
    mid: LocalModel | None = None,
) -> str:
    """Send a checkpoint, its tokenizer and a card, in one commit.

    Other files of the repository stay, so it may hold several steps. The card is the folder's
    ``README.md``, or is made from the meta file; the repository's is replaced.

    Parameters
    ----------
    repo
        ``owner/name``; made if it does not exist.
    token
        Token with the right to write; else HF_TOKEN, or the one that ``hf auth login`` keeps.
    private
        Make the repository private. One that exists is not changed, and refused if it is public.
    message
        Message of the commit.
    mid
        Midtraining checkpoint that is sent beside the model.

    Returns
    -------
    str
        Address of the commit.

    Raises
    ------
    NanochatError
        For a `mid` with another tokenizer, a bad name, no token (all before anything is sent), or
        a hub that refuses or is not reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    repo = repository_name(repo)
    files = model.files()
    if mid is not None:
        if mid.tokenizer.fingerprint != model.tokenizer.fingerprint:
            raise NanochatError(
                f"the tokenizer of {mid.folder} is not that of {model.folder}: one "
                "repository holds one; upload the midtraining checkpoint to a repository of its own"
            )
        files |= mid.files("mid_")
    card = model.folder / "README.md"
    if card.is_file() and leads_out(card, model.folder):
        raise NanochatError(
            f"{card} is a link to {card.resolve()}, outside of the model's folder: put the file in"
            " its place, or remove the link and a card is made"
        )
    if token is None and get_token() is None:
        raise NanochatError(f"no token for the Hugging Face hub: {_LOG_IN}")
    with tempfile.TemporaryDirectory() as made:
        write_published_tokenizer(model.tokenizer, Path(made))
        files |= {f"tokenizer/{name}": Path(made) / name for name in TOKENIZER_FILES}
        if not card.is_file():
            card = Path(made) / "README.md"
            card.write_bytes(_card(repo, model.checkpoint).encode(errors="backslashreplace"))
        files["README.md"] = card
        api = HfApi(token=token)
        ask_hub(repo, lambda: api.create_repo(repo, private=private, exist_ok=True))
        if private and not ask_hub(repo, lambda: api.model_info(repo)).private:
            raise NanochatError(f"{repo} exists and is public: nothing was sent; drop --private")
        # Operations remember the files already sent: a retry continues from there.
        parts = [CommitOperationAdd(name, path) for name, path in files.items()]
        text = message or f"nanochat model, step {model.checkpoint.step}"
        return ask_hub(repo, lambda: api.create_commit(repo, parts, commit_message=text)).commit_url


def ask_hub(name: str, call: Callable[[], Result]) -> Result:
    """Return the result of a call to the hub, repeated after network faults.

    Raises
    ------
    NanochatError
        One line, with `name`, for a hub that refuses or is not reached.
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return with_retries(call)
    except HfHubHTTPError as error:
        hint = f" ({_LOG_IN})" if error.response.status_code in (401, 403) else ""
        raise NanochatError(f"{name}: the hub refused: {_line(error)}{hint}") from error
    except Exception as error:
        if is_offline(error):
            command = command_online("nanochat ...")
            raise NanochatError(
                f"{name}: nothing is sent, because {offline_note()}; run it again as {command}"
            ) from error
        if not is_network_fault(error):
            raise
        raise NanochatError(f"{name}: the hub was not reached ({_line(error)})") from error


def repository_name(given: str) -> str:
    """Check the name of a repository to write to: ``owner/name``, with or without ``hf:``.

    Raises
    ------
    NanochatError
        For another form, or a name that the hub does not allow. It is not asked.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name, revision = split_revision(given)
    if revision is not None or "/" not in name:
        raise NanochatError(f"a repository to write to is named owner/name, not {quoted(given)}")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise NanochatError(
            f"the hub allows no such name as {quoted(given)}: {_line(error)}"
        ) from error
    return name


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _card(repository: str, checkpoint: Checkpoint) -> str:
    config = {name: f"{value:,}" for name, value in vars(checkpoint.config).items()}
    rest = {key: value for key, value in checkpoint.meta.items() if key != "model_config"}
    return _CARD.format(
        name=repository.split("/")[1],
        repository=repository,
        step=checkpoint.step,
        parameters=sum(tensor.numel() for tensor in checkpoint.state.values()),
        columns=" | ".join(config),
        rules="|".join(["---"] * len(config)),
        values=" | ".join(config.values()),
        meta=json.dumps(rest, indent=2, ensure_ascii=False),
    )
