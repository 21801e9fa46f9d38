"""``python -m nanochat``."""

from nanochat.cli import main

main()
