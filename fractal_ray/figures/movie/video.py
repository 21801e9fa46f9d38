"""Writers of GIF and MP4 files that keep only the last picture in memory."""

import contextlib
import itertools
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.colors import Colormap
from PIL import GifImagePlugin, Image

from fractal_ray.errors import SweepError
from fractal_ray.figures.canvas import whole_file

Add = Callable[[Image.Image, int], None]
"""Function of an RGB picture and the number of pictures during which it stands."""

FORMATS: Final = (".gif", ".mp4")
"""Suffixes that `open_video` writes."""

_LOOP: Final = b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"


@contextmanager
def open_video(path: Path, size: tuple[int, int], fps: int, colors: Colormap) -> Iterator[Add]:
    """Write a movie whole or not at all.

    Parameters
    ----------
    path
        Its suffix is one of `FORMATS`.
    size
        Width and height in pixels, both even.
    fps
        Pictures a second.
    colors
        Colour map that a GIF's 256 colours are chosen for.

    Raises
    ------
    SweepError
        If the suffix is another, the file cannot be written, or an MP4 is requested and ffmpeg is
        missing or fails.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise SweepError(f"cannot write {path.name!r}: use one of {', '.join(FORMATS)}")
    with whole_file(path) as part:
        writing = _gif(part, size, fps, colors) if kind == ".gif" else _mp4(part, size, fps)
        with writing as add:
            yield add


def has_ffmpeg() -> bool:
    """Return True if an MP4 can be written."""
    return shutil.which("ffmpeg") is not None


@contextmanager
def _gif(path: Path, size: tuple[int, int], fps: int, colors: Colormap) -> Iterator[Add]:
    chosen = palette(colors)
    written = 0
    with path.open("wb") as file:
        # 0xF7: a palette of 256 colours for all pictures.
        file.write(b"GIF89a" + struct.pack("<HHBBB", *size, 0xF7, 0, 0))
        file.write(bytes(chosen.getpalette() or ()) + _LOOP)

        def add(picture: Image.Image, times: int) -> None:
            nonlocal written
            # Whole hundredths of a second that add up to the exact time.
            hundredths = round((written + times) * 100 / fps) - round(written * 100 / fps)
            written += times
            indexed = picture.quantize(palette=chosen, dither=Image.Dither.NONE)
            for data in GifImagePlugin.getdata(indexed, duration=10 * hundredths):
                file.write(data)

        yield add
        file.write(b";")


def palette(colors: Colormap) -> Image.Image:
    """Return 256 colours: greys, a colour map, mixtures of its ends, and mixtures of its colours.

    All pictures use them, because colours that were chosen for each picture would flicker.
    """
    of_map = colors(np.linspace(0, 1, 128))[:, :3]
    greys = np.repeat(np.linspace(0, 1, 12)[:, None], 3, axis=1)
    ends = np.linspace(of_map[0], of_map[-1], 34)[1:-1]
    some = of_map[::6]
    pairs = itertools.combinations(some, 2)
    mixed = np.array([a + (b - a) * t for a, b in pairs for t in (0.25, 0.5, 0.75)])
    few = Image.fromarray((mixed[None] * 255).round().astype(np.uint8)).quantize(
        256 - len(of_map) - len(greys) - len(ends)
    )
    chosen = (np.concatenate([of_map, greys, ends]) * 255).round().astype(int).ravel().tolist()
    chosen += few.getpalette() or []
    image = Image.new("P", (1, 1))
    image.putpalette((chosen + [0] * 768)[:768])
    return image


@contextmanager
def _mp4(path: Path, size: tuple[int, int], fps: int) -> Iterator[Add]:
    program = shutil.which("ffmpeg")
    if program is None:
        raise SweepError(
            "an MP4 needs ffmpeg, which is not on the PATH; install it (apt install ffmpeg, brew"
            " install ffmpeg, conda install ffmpeg), or ask for a .gif"
        )
    shape = f"{size[0]}x{size[1]}"
    command = [program, "-y", "-loglevel", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", shape, "-r", str(fps), "-i", "-"]
    # yuv420p: what browsers play. The index first, so that it starts before it is loaded.
    command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    with tempfile.TemporaryFile() as errors:
        running = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors)
        assert running.stdin is not None
        pipe = running.stdin

        def add(picture: Image.Image, times: int) -> None:
            for _ in range(times):
                pipe.write(picture.tobytes())

        try:
            yield add
            pipe.close()
            failed = running.wait() != 0
        except BrokenPipeError:
            failed = True
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(5)  # it may be writing its reason
        finally:
            if running.poll() is None:
                running.kill()
            running.wait()
            with contextlib.suppress(OSError):
                pipe.close()
        if failed:
            errors.seek(0)
            reason = " ".join(errors.read().decode(errors="replace").split())
            raise SweepError(f"ffmpeg failed: {reason or f'exit code {running.returncode}'}")
