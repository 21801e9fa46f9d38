"""The stand-in for the hub, asked by the clients that it stands in for."""

import subprocess
import sys
import time
from pathlib import Path

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_stand_in import CHUNK, HubStandIn, use

MODEL = "models/some/model"
BIG = bytes(range(256)) * (CHUNK // 128)  # two chunks

# huggingface_hub 2.4 hands a file to httpx2 in a way that httpx2 has renamed.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with HubStandIn() as stand_in:
        use(monkeypatch, stand_in, tmp_path)
        stand_in.repos[MODEL] = {
            "config.json": b"{}",
            "tokenizer/tokenizer.pkl": b"pickle",
            "checkpoints/model_000001.pt": BIG,
        }
        yield stand_in


def test_a_snapshot_has_every_file_and_is_fetched_once(hub, tmp_path):
    folder = huggingface_hub.snapshot_download("some/model")
    assert folder.startswith(str(tmp_path))
    for name, content in hub.repos[MODEL].items():
        assert (Path(folder) / name).read_bytes() == content
    asked = len(hub.requests)
    assert huggingface_hub.snapshot_download("some/model") == folder
    assert not any("/resolve/" in path for _, path in hub.requests[asked:])
    part = huggingface_hub.snapshot_download("some/model", allow_patterns=["*.json"])
    assert part == folder


def test_files_are_listed_and_revisions_differ(hub):
    hub.revisions[MODEL] = {"refs/pr/1": {"other.json": b"1"}}
    assert huggingface_hub.list_repo_files("some/model") == sorted(hub.repos[MODEL])
    assert huggingface_hub.list_repo_files("some/model", revision="refs/pr/1") == ["other.json"]
    before = huggingface_hub.model_info("some/model").sha
    hub.repos[MODEL]["config.json"] = b"{} "
    assert huggingface_hub.model_info("some/model").sha != before
    old = huggingface_hub.hf_hub_download("some/model", "config.json", revision=before)
    assert Path(old).read_bytes() == b"{}"


def test_folders_are_listed_alone_or_with_what_is_in_them(hub):
    api = huggingface_hub.HfApi()
    top = {entry.path for entry in api.list_repo_tree("some/model")}
    assert top == {"config.json", "tokenizer", "checkpoints"}
    inside = [entry.path for entry in api.list_repo_tree("some/model", "tokenizer")]
    assert inside == ["tokenizer/tokenizer.pkl"]
    (info,) = api.get_paths_info("some/model", ["checkpoints/model_000001.pt", "nothing"])
    assert isinstance(info, huggingface_hub.RepoFile)
    assert info.lfs is not None
    assert (info.size, info.lfs.size) == (len(BIG), len(BIG))


def test_what_is_missing_is_told_by_kind(hub):
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.model_info("some/other")
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.dataset_info("some/model")
    with pytest.raises(RevisionNotFoundError):
        huggingface_hub.snapshot_download("some/model", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        huggingface_hub.hf_hub_download("some/model", "nothing.json")
    hub.private.add(MODEL)
    assert huggingface_hub.model_info("some/model").private
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.model_info("some/model", token=False)
    with pytest.raises(HfHubHTTPError, match="401"):
        huggingface_hub.model_info("some/model", token="hf_wrong")


def test_a_commit_comes_back_as_it_was_sent(hub, tmp_path):
    (tmp_path / "out" / "tokenizer").mkdir(parents=True)
    (tmp_path / "out" / "README.md").write_text("---\nlicense: mit\n---\nhello")
    (tmp_path / "out" / "model_000002.pt").write_bytes(BIG)
    (tmp_path / "out" / "tokenizer" / "empty.pkl").touch()
    api = huggingface_hub.HfApi()
    assert api.whoami()["name"] == "tester"
    url = api.create_repo("some/new", private=True)
    assert url.repo_id == "some/new"
    assert api.create_repo("some/new", exist_ok=True) == url
    done = api.upload_folder(repo_id="some/new", folder_path=tmp_path / "out", commit_message="one")
    sent = {"README.md", "model_000002.pt", "tokenizer/empty.pkl"}
    assert set(hub.commits[0].pop("paths")) == sent
    assert hub.commits == [
        {"repo": "models/some/new", "revision": "main", "message": "one", "sha": done.oid}
    ]
    assert hub.repos["models/some/new"]["model_000002.pt"] == BIG
    assert "models/some/new" in hub.private
    folder = huggingface_hub.snapshot_download("some/new", revision=done.oid)
    assert (Path(folder) / "model_000002.pt").read_bytes() == BIG
    api.delete_folder("tokenizer", "some/new")
    assert set(huggingface_hub.list_repo_files("some/new")) == {*sent, ".gitattributes"} - {
        "tokenizer/empty.pkl"
    }


def test_writing_needs_a_token(hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HfHubHTTPError, match="401"):
        huggingface_hub.HfApi().create_repo("some/new")
    assert list(hub.repos) == [MODEL]


def test_injected_faults_are_answered_as_often_as_asked(hub):
    hub.fail.append(("GET /api/models/some", 503, 2))
    for _ in range(2):
        with pytest.raises(HfHubHTTPError, match="503"):
            huggingface_hub.model_info("some/model")
    assert huggingface_hub.model_info("some/model").id == "some/model"
    assert hub.requests.count(("GET", "/api/models/some/model")) == 3
    hub.fail.append(("HEAD /some/model/resolve", 0, 1))
    with pytest.raises(Exception, match="disconnected"):
        huggingface_hub.get_hf_file_metadata(f"{hub.url}/some/model/resolve/main/config.json")


def test_a_client_may_be_killed_in_the_middle_of_a_file(hub, tmp_path):
    hub.slow["GET /some/model/resolve"] = 9.0
    name = "checkpoints/model_000001.pt"
    code = f"import huggingface_hub as hub; hub.hf_hub_download('some/model', '{name}')"
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        while ("GET", f"/some/model/resolve/main/{name}") not in hub.requests:
            assert child.poll() is None
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    assert not list((tmp_path / "huggingface").rglob("model_000001.pt"))
    hub.slow.clear()
    path = huggingface_hub.hf_hub_download("some/model", name)
    assert Path(path).read_bytes() == BIG


def test_a_dataset_is_read_by_its_library(hub, tmp_path):
    rows = datasets.Dataset.from_dict({"n": [1, 2, 3]})
    rows.to_parquet(tmp_path / "rows.parquet")
    hub.repos["datasets/some/data"] = {
        "data/train-00000-of-00001.parquet": (tmp_path / "rows.parquet").read_bytes(),
        "data/validation-00000-of-00001.parquet": (tmp_path / "rows.parquet").read_bytes(),
    }
    loaded = datasets.load_dataset("some/data", split="train")
    assert loaded["n"] == [1, 2, 3]
    streamed = datasets.load_dataset("some/data", split="validation", streaming=True)
    assert [row["n"] for row in streamed] == [1, 2, 3]
