"""Draw the pictures of docs/gallery.md again, and write the page.

    python docs/gallery/make.py           # minutes: two sweeps of small networks are run first
    python docs/gallery/make.py --page    # the page alone

Run it from the root of the repository. Sweeps that are in results/ already are used again.
"""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fractal_ray.figures.catalog import KINDS

PAGE = Path("docs/gallery.md")
PICTURES = Path("docs/gallery")

TANH = "fractal-ray run sweeps/paper/tanh.yaml --engine local --set name=gallery-"
SWEEPS = (
    f"{TANH}tanh --set 'stages=[{{grid: {{points: 129}}}}]'",
    f"{TANH}part --set 'stages=[{{grid: {{points: 17}}}}]' --budget-points 200",
)

FIRST_MAP, BORDER = "notebooks/data/first-map", "notebooks/data/border"
LR_TOKENS = "notebooks/data/lr-tokens"
TANH_MAP, PART = "results/gallery-tanh", "results/gallery-part"


@dataclass(frozen=True)
class Picture:
    """Picture of a kind of figure, with its dataset, its options and a remark."""

    kind: str
    dataset: str
    options: str = ""
    words: str = ""

    @property
    def file(self) -> str:
        """Return the file name: the kind and the words of the options."""
        letters = "".join(c if c.isalnum() else " " for c in self.options)
        return "-".join([self.kind, *letters.split()]) + ".png"

    @property
    def command(self) -> str:
        """Return the command that draws the picture."""
        options = f" {self.options}" if self.options else ""
        return (
            f"fractal-ray plot {self.dataset} --figure {self.kind}{options} --dpi 60"
            f" --out {PICTURES}/{self.file}"
        )


GALLERY = (
    Picture("panels", FIRST_MAP),
    Picture(
        "panels", FIRST_MAP, "--colors fractal-llm",
        "The colours of fractal-llm. Those above differ in every common form of colour blindness.",
    ),
    Picture(
        "panels", PART, "--fill",
        "A sweep that was stopped. Without `--fill` its missing points are hatched; with it they"
        " are painted like the nearest one and carry a dot. Counts and dimensions ignore them.",
    ),
    Picture("panels4", TANH_MAP),
    Picture("heatmap", TANH_MAP),
    Picture("loss", TANH_MAP),
    Picture("stability", TANH_MAP),
    Picture("outcomes", FIRST_MAP),
    Picture("boundary", BORDER, "--frame 0"),
    Picture("measured", BORDER, "--frame 0"),
    Picture("zooms", BORDER),
    Picture("rank", TANH_MAP),
    Picture("convergence", TANH_MAP),
    Picture(
        "curves", FIRST_MAP, "",
        "The row with the most flips; `--line x=VALUE`, `y=VALUE` or `transect=N` choose another.",
    ),
    Picture(
        "advice", FIRST_MAP, "",
        "Best point, runs within 1, 2 and 5 % of it, and the margins to the cliff; below, the row"
        " and the column through the best.",
    ),
    Picture(
        "critical", LR_TOKENS, "",
        "Bars go from the last unbroken to the first broken run of a column. The safe rate is the"
        " lower of the dashed line (rule of thumb) and the dotted one (what the runs support).",
    ),
    Picture("levels", BORDER, "--frame 0"),
    Picture(
        "scaling", BORDER, "--frame 0",
        "Full dots enter the fit. The frame has a verification sheet; without one there are neither"
        " lines nor slopes, and the heading says so.",
    ),
    Picture("against-zoom", BORDER),
    Picture(
        "against-steps", TANH_MAP, "--force",
        "Hollow marks: these have no verification sheet.",
    ),
    Picture("against-threshold", TANH_MAP, "--force"),
)  # fmt: skip


def page() -> str:
    """Return the text of docs/gallery.md."""
    lines = [
        "# Every figure",
        "",
        "`fractal-ray plot DATASET --figure KIND` draws each of them as PNG, SVG or PDF;",
        "`--figure all` draws every figure that the dataset has data for, and gives the reason for",
        "the others. In Python: `fractal_ray.figures.catalog.draw(sweep, kind)`. This page and its",
        "pictures come from `python docs/gallery/make.py`. Their datasets are in the repository,",
        "or made by",
        "",
        "```bash",
        *SWEEPS,
        "```",
    ]
    for kind, meaning in KINDS.items():
        lines += ["", f"## {kind}", "", f"{meaning[0].upper()}{meaning[1:]}."]
        for picture in GALLERY:
            if picture.kind == kind:
                said = ["", picture.words] if picture.words else []
                lines += [*said, "", "```bash", picture.command, "```", ""]
                lines += [f"![{kind} of {Path(picture.dataset).name}](gallery/{picture.file})"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the sweeps that are missing, draw the pictures, and write the page."""
    if "--page" not in sys.argv[1:]:
        for command in (*SWEEPS, *(picture.command for picture in GALLERY)):
            print(command, flush=True)
            words = shlex.split(command)
            subprocess.run([sys.executable, "-m", "fractal_ray", *words[1:]], check=True)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
