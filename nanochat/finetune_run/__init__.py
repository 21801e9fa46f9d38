"""One fine-tune as its user sees it, and what is built on it."""
