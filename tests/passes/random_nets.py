"""Random small networks of every kind that the passes know, for property tests."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from nets import F32, Net

from bnnc.ir.graph import Graph, Value

SIGNS: list[Callable[[Net, Value], Value]] = [
    lambda n, x: n("Sign", x),
    lambda n, x: n("Sign", x, zero=1),
    lambda n, x: n("Sign", n("Add", n("Sign", x), 0.1)),
    lambda n, x: n("Where", n("GreaterOrEqual", x, 0), np.ones(x.shape), -np.ones(x.shape)),
    lambda n, x: n("Where", n("Less", x, 0), -1, 1),
    lambda n, x: n("Sub", n("Mul", n("Cast", n("Greater", x, 0), to=F32), 2), 1),
    lambda n, x: n("Cast", n("Greater", x, 0), to=F32),
    lambda n, x: n("Mul", n("Where", n("GreaterOrEqual", x, 0), 1, -1), 0.3),
    lambda n, x: n("Where", n("GreaterOrEqual", x, 0), 0.7, 0.1),
    lambda n, x: n("Mul", n("Sign", x, zero=1), n.signs(x.shape[1], 1, 1)),
    lambda n, x: n("Round", n("Clip", x, min=0.0, max=1.0)),
    lambda n, x: n("Clip", n("Ceil", x), min=0.0, max=1.0),
    lambda n, x: n("Add", n("Sign", x, zero=1), n.normal(x.shape[1], 1, 1)),
    lambda n, x: n("Mul", n("Sign", x, zero=1), n.normal(x.shape[1], 1, 1)),
    lambda n, x: n("Add", n("Sub", n("Sign", x, zero=1), n("Tanh", x)), n("Tanh", x)),
    lambda n, x: n("Sign", n("Add", x, n.normal(x.shape[1], 1, 1)), zero=1),
    lambda n, x: n("MaxPool", n("Sign", x, zero=1), kernel=(2, 2), pads=(0, 0, 1, 1)),
]

FLOATS: list[Callable[[Net, Value], Value]] = [
    lambda n, x: n.bn(x),
    lambda n, x: n.bn(x, gamma=-n.rng.random(x.shape[1])),
    lambda n, x: n("Relu", x),
    lambda n, x: n("PRelu", x, n.normal(x.shape[1], 1, 1)),
    lambda n, x: n("LeakyRelu", x, alpha=0.1),
    lambda n, x: n("Clip", x, min=-1.5, max=2.0),
    lambda n, x: n("Mul", x, n.normal(x.shape[1], 1, 1)),
    lambda n, x: n("Div", n("Add", n.normal(x.shape[1], 1, 1), x), 3),
    lambda n, x: n("Sub", n.normal(), x),
    lambda n, x: n("Max", x, -0.25),
    lambda n, x: n("HardSwish", x),
    lambda n, x: n("Mul", x, n("Sigmoid", x)),
    lambda n, x: n("Mul", x, n("Sigmoid", n("ReduceMean", x, axes=(2, 3), keepdims=True))),
    lambda n, x: n("Transpose", n("Tanh", n("Transpose", x, perm=(0, 2, 3, 1))), perm=(0, 3, 1, 2)),
    lambda n, x: n("MaxPool", x, kernel=(2, 2), strides=(1, 1), pads=(1, 1, 0, 0)),
]


def random_net(seed: int) -> Graph:
    """A network of two or three convolutional blocks, and heads."""
    net = Net(1, 8, 6, 6, seed=seed)
    rng = net.rng
    value, outputs = net.bn(net.x), []
    for number in range(rng.integers(2, 4)):
        value = _block(net, value, f"block.{number}")
        if rng.random() < 0.2:
            outputs.append(value)
    if rng.random() < 0.5:
        heads = [_conv(net, value, 6, 3, f"head.{i}") for i in range(3)]
        outputs += [net("Conv", net("Relu", net.bn(h)), net.normal(2, 6, 1, 1)) for h in heads]
    else:
        outputs.append(_dense(net, value))
    if rng.random() < 0.3:
        outputs.append(_transposed(net, value))
    return net.returns(*outputs)


def _block(net: Net, x: Value, name: str) -> Value:
    rng = net.rng
    source = x
    if rng.random() < 0.8:
        source = _pad(net, SIGNS[rng.integers(len(SIGNS))](net, x))
    y = _conv(net, source, x.shape[1], 3, name, binary=rng.random() < 0.85)
    for _ in range(rng.integers(0, 4)):
        y = FLOATS[rng.integers(len(FLOATS))](net, y)
    y = net("Add", y, net.normal(y.shape[1], 1, 1))
    if y.shape == x.shape and rng.random() < 0.6:
        y = net("Sub", y, x) if rng.random() < 0.3 else net("Add", x, y)
    if rng.random() < 0.3:
        y = net("Concat", y, net("Relu", y), axis=1)
    return y


def _pad(net: Net, x: Value) -> Value:
    around = (0, 0, 1, 1, 0, 0, 1, 1)
    kind = net.rng.integers(4)
    if kind == 0:
        return x
    if kind == 3:
        return net("Pad", x, pads=around, mode="wrap")
    return net("Pad", x, pads=around, value=float(net.rng.choice([-1, 0, 1, 0.5])))


def _conv(
    net: Net, x: Value, channels: int, size: int, name: str, *, binary: bool = False
) -> Value:
    rng = net.rng
    group = int(rng.choice([1, 1, 2, x.shape[1]])) if binary and channels == x.shape[1] else 1
    shape = (channels, x.shape[1] // group, size, size)
    weights = net.signs(*shape) if binary else net.normal(*shape)
    if binary and rng.random() < 0.5:
        weights = (
            weights * rng.uniform(0.1, 2, (channels, 1, 1, 1)) * (1 + 1e-7 * net.normal(*shape))
        )
    if binary and rng.random() < 0.2:
        weights = np.where(weights > 0, net.normal(channels, 1, 1, 1), 0.25)
    pads = tuple(int(p) for p in rng.integers(0, 2, 4))
    if x.shape[2] < 6:
        pads = (1, 1, 1, 1)
    bias = net.normal(channels) if rng.random() < 0.5 else None
    strides = (2, 2) if rng.random() < 0.15 and x.shape[2] > 5 else (1, 1)
    return net("Conv", x, weights, bias, name=name, pads=pads, strides=strides, group=group)


def _transposed(net: Net, x: Value) -> Value:
    size = int(net.rng.integers(2, 5))
    weights = net.signs(x.shape[1], 4, size, size) * 0.3
    signs = SIGNS[net.rng.integers(len(SIGNS))](net, x)
    return net("ConvTranspose", signs, weights, net.normal(4), name="up", strides=(2, 2))


def _dense(net: Net, x: Value) -> Value:
    flat = net("Reshape", x, shape=(1, x.type.elements))
    signs = net("Sign", net("Add", flat, net.normal(flat.shape[1])), zero=1)
    hidden = net("MatMul", signs, net.signs(flat.shape[1], 12), name="dense.0")
    hidden = net("Sign", net.bn(hidden), zero=1)
    return net("MatMul", hidden, net.signs(12, 5) * 0.3, net.normal(5), name="dense.1")
