"""A small GPT in nanochat's own checkpoint format, and the fine-tune of it that a map measures."""

__all__: list[str] = []
