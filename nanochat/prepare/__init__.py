"""Preparation of data sets: published rows made into conversations, and sent to the hub."""
