"""The steps of `fused.py`, compiled by numba. All arrays are float64, and padded with zeros."""

import math
from typing import Any

import llvmlite.ir as ir  # pyright: ignore[reportMissingImports]
import numpy as np
from numba import njit, types  # pyright: ignore[reportMissingImports]
from numba.extending import intrinsic  # pyright: ignore[reportMissingImports]

INPUTS = 8
"""Number of inputs over which a product is unrolled; inputs are padded to a multiple with zeros."""
TANH, RELU, IDENTITY = 0, 1, 2
_SATURATED = 40.0
"""Value of 2 z from which on a unit counts as saturated, as in `train.py`."""
_BLOCK = 10
"""Number of steps between two checks for saturation."""

# The compiler may reorder sums into vectors, but must respect inf and nan.
_compiled: Any = njit(
    fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", nogil=True, cache=True
)
# Without reordering, for sums that round on purpose.
_as_written: Any = njit(fastmath={"contract"}, error_model="numpy", nogil=True, cache=True)


def _as(to: Any, of: Any, kind: ir.Type) -> Any:
    """Make a compiled function that reads the 64 bits of a value of type `of` as type `to`."""
    signature = to(of), lambda _context, builder, _, args: builder.bitcast(args[0], kind)
    return intrinsic(lambda _context, value: signature)


_bits = _as(types.int64, types.float64, ir.IntType(64))
_from_bits = _as(types.float64, types.int64, ir.DoubleType())
_LOG2E = 1 / math.log(2)
_ROUND = 1.5 * 2**52  # a sum with it has the nearest integer in its last bits
_LN2 = float.fromhex("0x1.62e42fefa3800p-1")  # the first bits of ln 2; exact times an integer
_LN2_REST = float.fromhex("0x1.ef35793c76730p-45")
_C2, _C3, _C4, _C5, _C6, _C7, _C8, _C9, _C10, _C11, _C12 = (
    1 / math.factorial(n) for n in range(2, 13)
)


@_as_written
def _tanh_of_half(z: float) -> float:
    """Return ``tanh(z / 2) = 1 - 2 / (1 + exp z)``, with an error of 4e-16 at most.

    exp z comes from ``z = n ln 2 + r`` (Cody and Waite) and the Taylor series of exp r, whose next
    term is below 2e-16 for ``|r| <= ln 2 / 2``.
    """
    z = _SATURATED if z > _SATURATED else z
    z = -_SATURATED if z < -_SATURATED else z
    shifted = z * _LOG2E + _ROUND
    n = shifted - _ROUND
    r = (z - n * _LN2) - n * _LN2_REST
    r2 = r * r
    r4 = r2 * r2
    low = (1 + r) + r2 * ((_C2 + r * _C3) + r2 * (_C4 + r * _C5))
    high = (_C6 + r * _C7) + r2 * (_C8 + r * _C9) + r4 * ((_C10 + r * _C11) + r2 * _C12)
    power = _from_bits(_bits(low + r4 * r2 * high) + (_bits(shifted) << 52))
    return 1 - 2 / (1 + power)


@_compiled
def _hide(kind, w0, x, hidden):
    """Fill `hidden` (units, examples) with act(W0 x)."""
    for u in range(w0.shape[0]):
        for k in range(0, x.shape[0], INPUTS):
            for e in range(x.shape[1]):
                z = 0.0 if k == 0 else hidden[u, e]
                for j in range(INPUTS):
                    z += w0[u, k + j] * x[k + j, e]
                hidden[u, e] = z
        if kind == TANH:
            for e in range(x.shape[1]):
                hidden[u, e] = _tanh_of_half(hidden[u, e])
        elif kind == RELU:
            for e in range(x.shape[1]):
                hidden[u, e] = 0.0 if hidden[u, e] < 0 else hidden[u, e]


@_compiled
def _errors(w1, readout, y, hidden, error):
    """Fill `error` (examples,) with out - y, and return the sum of its squares."""
    for e in range(len(y)):
        error[e] = -y[e]
    for u in range(0, len(w1), 2):
        a, b = w1[u] * readout, w1[u + 1] * readout
        for e in range(len(y)):
            error[e] += a * hidden[u, e] + b * hidden[u + 1, e]
    total = 0.0
    for e in range(len(y)):
        total += error[e] * error[e]
    return total


@_compiled
def _output_slopes(hidden, error, slopes):
    """Fill `slopes` (units,) with the sum of error * hidden."""
    for u in range(len(slopes)):
        total = 0.0
        for e in range(len(error)):
            total += error[e] * hidden[u, e]
        slopes[u] = total


@_compiled
def _backward(kind, error, hidden):
    """Replace `hidden` by error * act'."""
    for u in range(hidden.shape[0]):
        for e in range(len(error)):
            h = hidden[u, e]
            if kind == TANH:
                hidden[u, e] = error[e] * (1 - h * h)
            elif kind == RELU:
                hidden[u, e] = error[e] if h > 0 else 0.0
            else:
                hidden[u, e] = error[e]


@_compiled
def _input_slopes(x, back, slopes):
    """Fill `slopes` (units, inputs) with the sum of back * x.

    Eight sums are computed at a time and share the numbers that they load.
    """
    for u in range(0, back.shape[0], 2):
        for k in range(0, x.shape[0], 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = 0.0
            for e in range(x.shape[1]):
                a, b = back[u, e], back[u + 1, e]
                x0, x1, x2, x3 = x[k, e], x[k + 1, e], x[k + 2, e], x[k + 3, e]
                a0, a1, a2, a3 = a0 + a * x0, a1 + a * x1, a2 + a * x2, a3 + a * x3
                b0, b1, b2, b3 = b0 + b * x0, b1 + b * x1, b2 + b * x2, b3 + b * x3
            slopes[u, k], slopes[u, k + 1], slopes[u, k + 2], slopes[u, k + 3] = a0, a1, a2, a3
            u1 = u + 1
            slopes[u1, k], slopes[u1, k + 1], slopes[u1, k + 2], slopes[u1, k + 3] = b0, b1, b2, b3


@_compiled
def _stays_saturated(w0, x, drift, width, examples):
    """Return True if every unit stays saturated, as `Trainer._saturated` does.

    The first example nearly always decides it.
    """
    for e in range(examples):
        for u in range(width):
            now = end = 0.0
            for k in range(width):
                now += w0[u, k] * x[k, e]
                end += (w0[u, k] + drift) * x[k, e]
            if not (min(abs(now), abs(end)) > _SATURATED and (now > 0) == (end > 0)):
                return False
    return True


@_compiled
def _step(kind, settled, rate0, rate1, data, weights):
    """Descend along the slopes on the examples of `data`; overwrite `hidden` unless settled."""
    x, hidden, error = data
    w0, slopes0, w1, slopes1 = weights
    _output_slopes(hidden, error, slopes1)
    if not settled:
        _backward(kind, error, hidden)
        _input_slopes(x, hidden, slopes0)
        for u in range(w0.shape[0]):
            for k in range(w0.shape[1]):
                w0[u, k] -= w1[u] * rate0 * slopes0[u, k]
    for u in range(len(w1)):
        w1[u] -= rate1 * slopes1[u]


@_compiled
def _choose(batch, whole, batched):
    """Copy the examples of a minibatch into `batched`."""
    from_x, from_hidden, from_error = whole
    x, hidden, error = batched
    for column in range(len(batch)):
        e = batch[column]
        for k in range(len(x)):
            x[k, column] = from_x[k, e]
        for u in range(len(hidden)):
            hidden[u, column] = from_hidden[u, e]
        error[column] = from_error[e]


@_compiled
def _copy(from0, from1, w0, w1):
    for u in range(len(w1)):
        w1[u] = from1[u]
        for k in range(w0.shape[1]):
            w0[u, k] = from0[u, k]


@_compiled
def _add(offset, width, w0):
    for u in range(width):
        for k in range(width):
            w0[u, k] += offset


@_compiled
def train(rates, curves, sizes, net, shared, whole, batched, weights):
    """Fill every `stride`-th row of `curves` from `first` on, up to a loss that is not finite.

    Parameters
    ----------
    rates
        (networks, 3) rate of W0, rate of W1, and offset.
    curves
        (networks, steps) losses.
    sizes
        first, stride, width, number of examples, and number of examples per step.
    net
        Kind of activation, factor of the output, and True if every step adds the offset.
    shared
        theta0 (units, inputs), theta1 (units,), y (examples,), and batches (steps, examples per
        step), or (0, 0) for full batch.
    whole, batched
        Inputs (inputs, examples), and space for hidden layers and errors: of all examples, and of a
        minibatch.
    weights
        Space for W0, its slopes, W1 and its slopes.
    """
    first, stride, width, examples, step_examples = sizes
    kind, readout, per_step = net
    theta0, theta1, y, batches = shared
    w0, _, w1, _ = weights
    x, hidden, error = whole
    steps = curves.shape[1]
    for network in range(first, len(rates), stride):
        rate0, rate1, offset = rates[network]
        _copy(theta0, theta1, w0, w1)
        settled = False
        for step in range(steps):
            if not settled:
                if offset != 0 and (per_step or step == 0):
                    _add(offset, width, w0)
                _hide(kind, w0, x, hidden)
            loss = _errors(w1, readout, y, hidden, error) / examples
            curves[network, step] = loss
            if not np.isfinite(loss):
                break
            if kind == TANH and not settled and step % _BLOCK == 0:
                drift = offset * (steps - 1 - step) if per_step else 0.0
                settled = _stays_saturated(w0, x, drift, width, examples)
            for e in range(len(error)):
                error[e] *= 2 / step_examples * readout
            data = whole
            if len(batches):
                _choose(batches[step], whole, batched)
                data = batched
            _step(kind, settled, rate0, rate1, data, weights)
