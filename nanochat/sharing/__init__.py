"""Models in the forms that others read: nanochat itself, the hub, transformers."""
