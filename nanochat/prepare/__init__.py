"""Data sets made ready: from what others publish to conversations, and back to the hub."""
