"""Shipped specs by name: all of them open, files of that name win, copies beside datasets."""

from pathlib import Path

import pytest

from fractal_ray.errors import SweepError
from fractal_ray.spec.shipped import keep_copy, shipped_names, shipped_spec
from fractal_ray.spec.yaml_file import load_spec

SWEEPS = Path(__file__).parents[3] / "sweeps"


def test_every_spec_of_the_folder_opens_by_its_name() -> None:
    names = shipped_names()
    assert {"quickstart", "weierstrass", "paper/tanh"} <= set(names)
    assert len(names) == len(list(SWEEPS.rglob("*.yaml")))
    for name in names:
        assert load_spec(name).name
    assert load_spec("quickstart") == load_spec(SWEEPS / "quickstart.yaml")


@pytest.mark.parametrize(
    "name", ["../sweeps/quickstart", "quickstart.yaml", "/etc/passwd", "", "paper", "a/b/c"]
)
def test_paths_are_no_names(name: str) -> None:
    assert shipped_spec(name) is None


def test_a_file_of_the_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (SWEEPS / "weierstrass.yaml").read_text()
    Path("quickstart").write_text(text)
    assert load_spec("quickstart").name == "weierstrass"
    Path("quickstart").unlink()
    Path("quickstart").mkdir()
    with pytest.raises(SweepError, match="quickstart is a folder"):
        load_spec("quickstart")
    Path("quickstart").rmdir()
    with pytest.raises(SweepError, match="did you mean quickstart"):
        load_spec("quikstart")
    with pytest.raises(SweepError, match="specs by name: d20_docvqa_matrix_unembedding, lr_tokens"):
        load_spec("nothing_like_it")


def test_a_copy_replaces_copies_only(tmp_path: Path) -> None:
    file = shipped_spec("quickstart")
    assert file is not None
    copy = tmp_path / "q.yaml"
    assert keep_copy(file, str(tmp_path), "q", "fractal-ray run quickstart") == str(copy)
    assert copy.read_text().endswith(file.read_text())
    assert keep_copy(file, str(tmp_path), "q", "fractal-ray run quickstart --set a=1")
    assert "# fractal-ray run quickstart --set a=1\n" in copy.read_text()
    assert load_spec(copy) == load_spec(file)
    for content in (b"name: mine\n", b"\xff\xfe"):
        copy.write_bytes(content)
        assert keep_copy(file, str(tmp_path), "q", "fractal-ray run quickstart") is None
        assert copy.read_bytes() == content
