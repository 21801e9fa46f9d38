"""Folder for files that are kept between runs."""

import os
from pathlib import Path

from nanochat.errors import user_path


def base_dir() -> Path:
    """Return NANOCHAT_BASE_DIR, or ~/.cache/nanochat where it is not set."""
    folder = os.environ.get("NANOCHAT_BASE_DIR")
    return user_path(folder) if folder else Path.home() / ".cache" / "nanochat"
