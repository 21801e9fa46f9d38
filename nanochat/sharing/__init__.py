"""Models in the formats of nanochat, of the hub, and of transformers."""
