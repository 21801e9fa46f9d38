"""Make the datasets of the notebooks again.

    OMP_NUM_THREADS=1 python notebooks/data/make.py           # all five: a quarter of an hour
    OMP_NUM_THREADS=1 python notebooks/data/make.py border    # seconds

Run from the root of the repository. What is there is kept and finished; delete a folder to begin
anew. Afterwards the parts name no host, figures and the runs of verifications (whose results are in
the sheets) are gone.
"""

import argparse
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fractal_ray.analysis.frame_data import read_frame
from fractal_ray.analysis.verify.kept_sheet import gather, keep, sample_of
from fractal_ray.sweep import Sweep

HERE = Path("notebooks/data")
VERIFIED = {
    "first-map": False,
    "lr-tokens": False,
    "border": True,
    "constant": True,
    "annealed": True,
}
HOST = "example"


def make(name: str) -> None:
    """Run a sweep and verify its frames, or go on with it."""
    sweep = Sweep.open(HERE / f"{name}.yaml", (f"storage={HERE}",))
    sweep.run(engine="local")
    for frame in sweep.frames if VERIFIED[name] else ():
        data = read_frame(sweep, frame)
        sample = sample_of(data)
        sweep.run_checks(data.lattice.frame.id, sample, engine="local")
        keep(data, gather(data, sample))
    tidy(HERE / name)


def tidy(folder: Path) -> None:
    """Leave what a reader of the dataset needs, and say nothing of the machine that made it."""
    shutil.rmtree(folder / "figures", ignore_errors=True)
    (folder / ".lock").unlink(missing_ok=True)
    for checks in folder.glob("verify/frame-*/*/"):
        shutil.rmtree(checks)
    for part in sorted(folder.glob("points/*/*/part-*.parquet")):
        # The file alone: as a dataset its folders would add columns.
        table = pq.ParquetFile(part).read()
        index = table.column_names.index("host")
        table = table.set_column(index, "host", pa.array([HOST] * table.num_rows))
        part.unlink()
        pq.write_table(
            table, part.with_name("part-0.parquet"), compression="zstd", compression_level=19
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the datasets of the notebooks.")
    parser.add_argument("names", nargs="*", default=list(VERIFIED), metavar="NAME")
    for chosen in parser.parse_args().names:
        if chosen not in VERIFIED:
            parser.error(f"no dataset {chosen!r}; there are {', '.join(VERIFIED)}")
        make(chosen)
        print(f"{HERE / chosen}", flush=True)
