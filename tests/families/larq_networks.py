"""Networks of Larq, exported by tf2onnx. Run by itself, in a Python that has both::

    python larq_networks.py FOLDER

writes each to ``FOLDER/name.onnx``. TensorFlow shares no process with torch here, nor need it share
an environment with bnnc.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}

import larq
import numpy as np
import tensorflow as tf
import tf2onnx

keras = tf.keras
layers = keras.layers
Tensor = Any

RANDOM = np.random.default_rng(0)
SIGNS = {"input_quantizer": "ste_sign", "kernel_quantizer": "ste_sign", "use_bias": False}
CLIPPED = {**SIGNS, "kernel_constraint": "weight_clip"}


def norm(x: Tensor, **options: Any) -> Tensor:
    return layers.BatchNormalization(**options)(x)


def conv(x: Tensor, features: int, size: int = 3, **options: Any) -> Tensor:
    return larq.layers.QuantConv2D(features, size, **{**CLIPPED, **options})(x)


def stem(x: Tensor, features: int = 16, strides: int = 1) -> Tensor:
    return norm(layers.Conv2D(features, 3, strides, padding="same", use_bias=False)(x))


def classes(x: Tensor) -> Tensor:
    x = layers.GlobalAveragePooling2D()(layers.Activation("relu")(x))
    return layers.Activation("softmax")(layers.Dense(10)(x))


def quicknet(x: Tensor) -> Tensor:
    """Residual blocks padded with ones, a blurred max-pool between the scales."""
    x = stem(x, 32, 2)
    for features in (32, 48):
        if features != x.shape[-1]:
            x = layers.MaxPool2D(3, strides=2, padding="same")(layers.Activation("relu")(x))
            x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
            x = norm(layers.Conv2D(features, 1, use_bias=False)(x))
        for _ in range(2):
            y = conv(x, features, padding="same", pad_values=1.0, activation="relu")
            x = layers.Add()([norm(y, momentum=0.9), x])
    return classes(x)


def bireal(x: Tensor) -> Tensor:
    """Padded with zeros, unevenly at stride 2; weights have a scale for each output channel."""
    x = layers.MaxPool2D(3, 2, padding="same")(stem(x))
    quantizers = {"input_quantizer": "approx_sign", "kernel_quantizer": "magnitude_aware_sign"}
    for features, strides in ((16, 1), (32, 2), (32, 1)):
        shortcut = x
        if strides == 2:
            shortcut = layers.AveragePooling2D(2, 2)(shortcut)
            shortcut = norm(layers.Conv2D(features, 1, use_bias=False)(shortcut))
        y = conv(x, features, strides=strides, padding="same", kernel_constraint=None, **quantizers)
        x = layers.Add()([norm(y), shortcut])
    return classes(x)


def binarynet(x: Tensor) -> Tensor:
    """Max-pools between convolution and sign, dense layers, no gamma."""
    x = norm(larq.layers.QuantConv2D(24, 3, kernel_quantizer="ste_sign", use_bias=False)(x))
    for features in (32, 40):
        x = layers.MaxPool2D(2, 2)(conv(x, features, padding="same"))
        x = norm(x, scale=False)
    x = layers.Flatten()(x)
    x = norm(larq.layers.QuantDense(32, **CLIPPED)(x), scale=False)
    x = larq.layers.QuantDense(10, **{**CLIPPED, "use_bias": True})(x)
    return layers.Activation("softmax")(x)


def zero_or_one(x: Tensor) -> Tensor:
    """Activations of 0 and 1; DoReFa's of one bit; PReLU between."""
    x = conv(stem(x), 20, padding="same", input_quantizer="ste_heaviside")
    x = layers.PReLU(shared_axes=[1, 2])(norm(x))
    x = conv(x, 24, strides=2, padding="same", input_quantizer=larq.quantizers.DoReFa(1))
    return classes(norm(x))


def other_layers(x: Tensor) -> Tensor:
    """Depthwise, separable, transposed; a swish sign."""
    depthwise = {"depthwise_quantizer": "ste_sign", "pad_values": 1.0, "padding": "same"}
    signs = {"input_quantizer": "swish_sign", "use_bias": False}
    x = norm(larq.layers.QuantDepthwiseConv2D(3, strides=2, **depthwise, **signs)(stem(x)))
    x = norm(larq.layers.QuantSeparableConv2D(24, 3, **depthwise, **signs)(x))
    x = larq.layers.QuantConv2DTranspose(16, 3, strides=2, padding="same", **CLIPPED)(x)
    return conv(norm(x), 8, dilation_rate=2, padding="same")


def places(x: Tensor) -> Tensor:
    """Weights of their own at each place; convolutions over one axis, the first of them causal."""
    x = layers.MaxPool2D(4)(stem(x, 8))
    x = norm(larq.layers.QuantLocallyConnected2D(8, 3, implementation=1, **SIGNS)(x))
    x = norm(layers.Reshape((36, 8))(x))
    x = norm(larq.layers.QuantConv1D(16, 3, padding="causal", **CLIPPED)(x))
    return larq.layers.QuantConv1D(16, 5, strides=2, padding="same", **CLIPPED)(x)


def dense_blocks(x: Tensor) -> Tensor:
    """Every convolution reads what all before it have made."""
    x = stem(x, strides=2)
    for _ in range(3):
        y = conv(norm(x), 8, padding="same", pad_values=1.0)
        x = layers.Concatenate()([x, y])
    return classes(norm(x))


NETWORKS: dict[str, Callable[[Tensor], Tensor]] = {
    network.__name__: network
    for network in (quicknet, bireal, binarynet, zero_or_one, other_layers, places, dense_blocks)
}


def settle(model: Any) -> None:
    """Statistics, gammas of either sign and slopes as if it had been trained."""
    ranges = {
        "gamma": lambda size: RANDOM.uniform(0.5, 1.5, size) * RANDOM.choice([-1, 1, 1], size),
        "beta": lambda size: RANDOM.normal(0, 0.3, size),
        "moving_mean": lambda size: RANDOM.normal(0, 0.5, size),
        "moving_variance": lambda size: RANDOM.uniform(0.5, 4, size),
        "alpha": lambda size: RANDOM.uniform(-0.3, 0.5, size),
    }
    for weight in model.weights:
        draw = ranges.get(weight.name.split("/")[-1].split(":")[0])
        if draw is not None:
            weight.assign(draw(weight.shape).astype(np.float32))


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    for name, network in NETWORKS.items():
        for suffix, opset, options in (
            ("", 13, {}),
            (".nchw", 11, {"inputs_as_nchw": ["x"]}),
            (".newest", 18, {}),
        ):
            keras.backend.clear_session()
            image = layers.Input((32, 32, 3))
            model = keras.Model(image, network(image))
            settle(model)
            spec = [tf.TensorSpec((None, 32, 32, 3), tf.float32, name="x")]
            path = str(folder / f"{name}{suffix}.onnx")
            tf2onnx.convert.from_keras(model, spec, opset=opset, output_path=path, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
