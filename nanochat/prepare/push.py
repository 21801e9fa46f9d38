"""Conversations sent to the hub as a data set: Parquet files and a card, in one commit."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanochat.data.bad_rows import SkippedRows
from nanochat.data.conversations import is_file, load_conversations, location
from nanochat.data.messages_table import messages_array, write_table
from nanochat.errors import NanochatError
from nanochat.sharing.upload import ask_hub, repository_name

_CARD = """
# {name}

Conversations: `messages` is a list of `role` and `content`. Written by `nanochat data push`.
"""


def push_dataset(
    sources: Mapping[str, str],
    repository: str,
    token: str | None = None,
    private: bool = False,
    skipped: Mapping[str, SkippedRows] | None = None,
) -> str:
    """Send the splits of a data set, after every row has been checked.

    Parameters
    ----------
    sources
        A source of `nanochat.data.conversations.load_conversations` for each split. A split becomes
        ``data/<split>.parquet`` with the column ``messages``. Splits that the repository's
        card lists already, and that are not among these, stay.
    repository
        ``owner/name``; made if it does not exist.
    token
        Token of the hub; else the one that ``hf auth login`` keeps, or HF_TOKEN.
    private
        Make the repository private. One that exists is not changed, and refused if it is public.
    skipped
        Counts the bad rows of each split, which are left out up to its limit; without it, the first
        bad row is an error.

    Returns
    -------
    str
        Address of the data set.

    Raises
    ------
    NanochatError
        For a bad row, a bad name, or a hub that refuses; nothing has been sent then.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    places = {location(source, split): split for split, source in sources.items()}
    if len(places) < len(sources):
        raise NanochatError(
            f"{' and '.join(sources)} are both {next(iter(places))}: a validation split must hold "
            "other conversations"
        )
    name = repository_name(repository)
    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as folder:
        files = {split: Path(folder) / f"{split}.parquet" for split in sources}
        for split, source in sources.items():
            part = "train" if is_file(source) else split
            record = None if skipped is None else skipped[split]
            table = messages_array(load_conversations(source, part, skipped=record))
            write_table(files[split], {"messages": table})
        url = ask_hub(
            name, lambda: api.create_repo(name, private=private, repo_type="dataset", exist_ok=True)
        )
        if private and ask_hub(name, lambda: api.dataset_info(name)).private is False:
            raise NanochatError(
                f"{name} exists and is public: nothing was sent (leave out --private)"
            )
        card = ask_hub(name, lambda: _card(api, name, list(sources)))
        # Operations remember the files already sent, so a retry continues from there.
        operations = [CommitOperationAdd("README.md", card.encode())]
        operations += [
            CommitOperationAdd(f"data/{split}.parquet", path) for split, path in files.items()
        ]
        message = f"Conversations: {', '.join(sources)}"
        ask_hub(
            name,
            lambda: api.create_commit(
                name, operations, commit_message=message, repo_type="dataset"
            ),
        )
    return str(url)


def _card(api: Any, name: str, splits: list[str]) -> str:
    """Return the existing card or a new one, with the splits in its metadata."""
    from huggingface_hub import DatasetCard
    from huggingface_hub.errors import EntryNotFoundError

    try:
        path = api.hf_hub_download(name, "README.md", repo_type="dataset")
        card = DatasetCard(Path(path).read_text(encoding="utf-8"), ignore_metadata_errors=True)
    except EntryNotFoundError:
        card = DatasetCard(_CARD.format(name=name))
    except ValueError as error:  # bad YAML, or text that is not UTF-8
        reason = " ".join(str(error).split())[:200]
        raise NanochatError(f"{name}: its README.md cannot be read ({reason})") from error
    configs = card.data.to_dict().get("configs") or []
    listed = [file for each in configs if _is_default(each) for file in each.get("data_files", [])]
    kept = [each for each in listed if isinstance(each, dict) and each.get("split") not in splits]
    files = [{"split": split, "path": f"data/{split}.parquet"} for split in splits]
    default = {"config_name": "default", "data_files": [*files, *kept]}
    card.data["configs"] = [default, *(each for each in configs if not _is_default(each))]
    card.data.pop(
        "dataset_info", None
    )  # sizes of earlier files, which would be checked against the new ones
    return str(card)


def _is_default(config: dict[str, Any]) -> bool:
    return config.get("config_name") == "default"
