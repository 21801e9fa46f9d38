"""One fine-tune with its settings, log and result, and the commands built on it."""
