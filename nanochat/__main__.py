"""``python -m nanochat``."""

from nanochat.cli.main import main

main()
