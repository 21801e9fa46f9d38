"""A training run as a plain function: a small network that learns a spiral, in numpy."""

import numpy as np


def prepare():
    """Make what all runs share; it is computed once."""
    rng = np.random.default_rng(0)
    turns = rng.uniform(0.25, 1.5, 400)
    side = rng.integers(0, 2, 400)
    angle = 2 * np.pi * turns + np.pi * side
    points = (turns * np.array([np.cos(angle), np.sin(angle)])).T + rng.normal(0, 0.02, (400, 2))
    return {"points": points, "labels": side.astype(float)}


def train(params, shared, seed):
    """Train one network: yield its loss before each update, return its last accuracy."""
    points, labels = shared["points"], shared["labels"]
    width, lr = int(params["width"]), params["lr"]
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 2, (2, width))
    bias = rng.normal(0, 1, width)
    last = rng.normal(0, 1 / np.sqrt(width), width)
    accuracy = 0.0
    for _ in range(params["steps"]):
        hidden = np.tanh(points @ first + bias)
        logits = hidden @ last
        loss = np.mean(np.logaddexp(0, logits) - labels * logits)
        yield float(loss)  # a loss that is not finite ends the run: it has diverged
        accuracy = float(np.mean((logits > 0) == labels))
        error = (1 / (1 + np.exp(-logits)) - labels) / len(labels)
        back = np.outer(error, last) * (1 - hidden**2)
        last = last - lr * hidden.T @ error
        first = first - lr * points.T @ back
        bias = bias - lr * back.sum(axis=0)
    return {"metrics": {"accuracy": accuracy}}
