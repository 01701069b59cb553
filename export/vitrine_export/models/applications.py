"""The networks of keras.applications as a layer that gives one row of features for each picture."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras

from vitrine_export.errors import RecipeError
from vitrine_export.recipe import Transfer
from vitrine_export.recipe.backbones import APPLICATIONS

# What load_backbone sets itself, from other keys of the recipe.
_SET = {"include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "classifier_activation", "name"}
# Where the file in the cache has another name than in the address; source: keras/src/applications/nasnet.py.
_RENAMED = {
    "NASNet-mobile-no-top.h5": "nasnet_mobile_no_top.h5",
    "NASNet-large-no-top.h5": "nasnet_large_no_top.h5",
}


@keras.saving.register_keras_serializable("vitrine")
class Application(keras.layers.Layer):
    """A network without its classifier, always in inference mode: images float32 [N, H, W, C] to [N, D].

    A layer of its own, because Keras runs a network inside a network in the mode of the outer one.
    """

    def __init__(self, network: keras.Model, **options: Any) -> None:
        trainable = options.pop("trainable", True)
        super().__init__(**options)
        self.network = network
        self.width = network.output_shape[-1]
        if not trainable:
            self.trainable = False
        self.build(network.input_shape)

    def call(self, images: Any) -> Any:
        return self.network(images, training=False)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape[0], self.width

    def description(self) -> str:
        """Tells networks apart that compute something else, but for the values of their weights."""
        layers = [(type(layer).__name__, layer.output.shape) for layer in _flat(self.network)]
        return f"application {self.network.input_shape} {layers}"

    def unfreeze(self, layers: int | Literal["all"]) -> int:
        """Let the last `layers` layers that have weights learn, batch normalisation never; how many do."""
        self.trainable = True
        for layer in (self.network, *_flat(self.network)):
            layer.trainable = True
        found = [layer for layer in _flat(self.network) if layer.trainable_variables]
        found = [layer for layer in found if not isinstance(layer, keras.layers.BatchNormalization)]
        chosen = found if layers == "all" else found[-layers:]
        for layer in _flat(self.network):
            layer.trainable = any(layer is learning for learning in chosen)
        return len(chosen)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Application:
        return cls(**(config | {"network": keras.saving.deserialize_keras_object(config["network"])}))


def _flat(network: keras.Model) -> list[keras.layers.Layer]:
    """Its layers in order, those of networks inside it in place of these."""
    found = []
    for layer in network.layers:
        found += _flat(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def load_application(config: Transfer, input_shape: tuple[int, int, int]) -> Application:
    """The network of keras.applications that `config` names, with the weights it names, for pictures of `input_shape`.

    Raises RecipeError for an unknown network or argument, for pictures that it does not take, and for weights that
    are missing or not its own.
    """
    name = config.backbone.removeprefix(APPLICATIONS)
    make = _networks().get(name)
    if make is None:
        raise RecipeError(f"model.backbone: {config.backbone}: unknown; accepted: {', '.join(_networks())}")
    accepted = [key for key in inspect.signature(make).parameters if key not in _SET]
    for key in config.arguments:
        if key not in accepted:
            raise RecipeError(f"model.arguments: {key}: {name} accepts {', '.join(accepted) or 'none'}")
    file = None if config.weights in (None, "imagenet") else Path(str(config.weights)).expanduser()
    if file and not file.is_file():
        raise RecipeError(f"model.weights: no file {file}; accepted: a file, imagenet, or null for random weights")
    options = config.arguments | {"include_top": False, "input_shape": input_shape, "pooling": config.pooling}
    try:
        # Keras tells of a download on stdout, which is for results.
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            # Of MobileNet, about sides that ImageNet's weights were not made for; they work nevertheless.
            warnings.simplefilter("ignore", UserWarning)
            network = make(weights=None if file else config.weights, **options)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"model.backbone: {config.backbone}: {_reason(error)}") from None
    except Exception as error:
        # keras.utils.get_file raises a bare Exception where a download fails.
        if "URL fetch failure" not in str(error):
            raise
        raise RecipeError(_offline(config, str(error))) from None
    if file:
        _load_weights(network, file, name)
    return Application(_without_xla(network), trainable=False)


def _without_xla(network: keras.Model) -> keras.Model:
    """The same with depthwise convolutions where it has Conv2D with as many groups as filters, as ConvNeXt does.

    Keras compiles grouped convolutions with XLA, which TensorFlow Serving does not run.
    """
    if not any(_is_depthwise(layer) for layer in _flat(network)):
        return network

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not _is_depthwise(layer):
            return layer.__class__.from_config(layer.get_config())
        kept = ("name", "kernel_size", "strides", "padding", "dilation_rate", "activation", "use_bias", "dtype")
        return keras.layers.DepthwiseConv2D(**{key: layer.get_config()[key] for key in kept})

    same = keras.models.clone_model(network, clone_function=clone)
    for layer, copy in zip(_flat(network), _flat(same), strict=True):
        weights = layer.get_weights()
        if _is_depthwise(layer):
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        copy.set_weights(weights)
    return same


def _is_depthwise(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.Conv2D) and 1 < layer.groups == layer.filters


def _networks() -> dict[str, Callable[..., keras.Model]]:
    found = vars(keras.applications).items()
    return {name: make for name, make in sorted(found) if name[0].isupper() and callable(make)}


def _load_weights(network: keras.Model, file: Path, name: str) -> None:
    try:
        network.load_weights(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecipeError(
            f"model.weights: {file}: are not weights of {name} without its classifier (no top), with these "
            f"model.arguments: {_reason(error)}"
        ) from None


def _offline(config: Transfer, said: str) -> str:
    url = next((word for word in said.split() if word.startswith("http")), "").rstrip(":")
    file = url.rsplit("/", 1)[-1]
    home = Path(os.environ.get("KERAS_HOME", "~/.keras"))
    return (
        f"model.weights: imagenet: the weights of {config.backbone} cannot be downloaded from {url}. Put the file at "
        f"{home / 'models' / _RENAMED.get(file, file)}, where keras looks first, or give its path in model.weights"
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
