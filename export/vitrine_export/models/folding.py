"""Networks as they are served: batch normalisation that follows a convolution becomes a part of its weights."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np

from vitrine_export.models.applications import Application
from vitrine_export.models.graphs import run_anew

_LINEAR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


def fold_batch_norms(network: keras.Model) -> keras.Model:
    """The same function in inference mode, with fewer operations; `network` itself where nothing can be folded.

    A linear layer and the batch normalisation after it are one linear layer: of outputs y normalised to
    (y - mean) * scale + offset, scale goes into the kernel and the rest into the bias (Jacob et al. 2018,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section 3.2).
    Backbones of `keras.applications` are folded as well, modules of TensorFlow Hub, which are graphs, are not. Layers
    that are not folded are shared with `network`.
    """
    folded = _foldable(network)
    backbones = {layer: _folded_backbone(layer) for layer in network.layers if isinstance(layer, Application)}
    if not folded and all(backbone is layer for layer, backbone in backbones.items()):
        return network
    norms = set(folded.values())

    def call(layer: keras.layers.Layer, *arguments: Any, **named: Any) -> Any:
        if layer in norms:
            return arguments[0]
        if layer in folded:
            return _normalising(layer, folded[layer], *arguments, **named)
        return backbones.get(layer, layer)(*arguments, **named)

    return run_anew(network, call)


def _folded_backbone(layer: Application) -> Application:
    network = fold_batch_norms(layer.network)
    return layer if network is layer.network else Application(network, name=layer.name)


def _foldable(network: keras.Model) -> dict[keras.layers.Layer, keras.layers.Layer]:
    """Linear layers, and the batch normalisation that has the only look at what each of them gives."""
    calls: Counter[keras.layers.Layer] = Counter()
    uses: Counter[int] = Counter()
    givers: dict[int, keras.layers.Layer] = {}
    inputs: dict[keras.layers.Layer, Any] = {}

    def call(layer: keras.layers.Layer, *arguments: Any, **named: Any) -> Any:
        calls[layer] += 1
        uses.update(
            id(value) for value in keras.tree.flatten((arguments, named)) if isinstance(value, keras.KerasTensor)
        )
        outputs = layer(*arguments, **named)
        givers.update({id(output): layer for output in keras.tree.flatten(outputs)})
        if type(layer) is keras.layers.BatchNormalization:
            inputs[layer] = arguments[0]
        return outputs

    same = run_anew(network, call)
    uses.update(id(output) for output in same.outputs)
    pairs = {givers.get(id(value)): norm for norm, value in inputs.items() if uses[id(value)] == 1 == calls[norm]}
    return {
        layer: norm
        for layer, norm in pairs.items()
        if layer is not None and calls[layer] == 1 and _is_linear_before(layer, norm)
    }


def _is_linear_before(layer: keras.layers.Layer, norm: keras.layers.Layer) -> bool:
    """Whether outputs are a linear function of the weights, and normalised by channel."""
    return (
        type(layer) in _LINEAR
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
        and norm.axis in (-1, len(layer.output.shape) - 1)
    )


def _normalising(layer: keras.layers.Layer, norm: keras.layers.Layer, *arguments: Any, **named: Any) -> Any:
    """What a layer with the weights of both gives."""
    both = type(layer).from_config(layer.get_config() | {"use_bias": True})
    outputs = both(*arguments, **named)
    # In a separable convolution the last kernel is that of points.
    *others, kernel = layer.get_weights()[: -1 if layer.use_bias else None]
    scale, offset = _scale_and_offset(norm)
    bias = _exact(layer.bias) if layer.use_bias else 0.0
    channels = kernel.shape[2:] if isinstance(layer, keras.layers.DepthwiseConv2D) else (-1,)
    weights = [*others, _exact(kernel) * scale.reshape(channels), bias * scale + offset]
    both.set_weights([np.asarray(value, kernel.dtype) for value in weights])
    return outputs


def _scale_and_offset(norm: keras.layers.Layer) -> tuple[Any, Any]:
    """Per channel, as float64 [C]: the layer gives x * scale + offset."""
    scale = 1 / np.sqrt(_exact(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * _exact(norm.gamma)
    return scale, -_exact(norm.moving_mean) * scale + (_exact(norm.beta) if norm.center else 0.0)


def _exact(values: Any) -> Any:
    return np.asarray(values, np.float64)
