"""Names of files that a server sends."""

import pytest

from nanochat.errors import NanochatError
from nanochat.files.listing import check_names


@pytest.mark.parametrize("name", ["/etc/passwd", "..", "../a", "a/../../b", "a/..", "", "a\0b"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(NanochatError, match=r"^model 'hf:a/b': it names the file '.*', which"):
        check_names("hf:a/b", ["model_000001.pt", name])


def test_usual_names_pass() -> None:
    check_names("hf:a/b", ["README.md", ".gitattributes", "a/b/c..d", "a b/ä.json", "..a/x.."])
