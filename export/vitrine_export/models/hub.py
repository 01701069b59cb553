"""A TensorFlow Hub module (TF2 SavedModel format) as a Keras layer that gives one row of features for each picture."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

_OUTPUTS = ("default", "feature_vector", "features", "pooled", "logits")
_MOVING = ("moving_mean", "moving_variance")
# Where a layer that is being written or read keeps its module, if not where it came from; see `kept_in`.
_KEPT: ContextVar[Path | None] = ContextVar("kept", default=None)


class UnfitModuleError(ValueError):
    """A folder that holds no module that can be used, or a module that does not take the pictures."""


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Layers that are saved or loaded inside leave their module to `folder`: graph, and values of its variables."""
    token = _KEPT.set(folder)
    try:
        yield
    finally:
        _KEPT.reset(token)


@keras.saving.register_keras_serializable("vitrine")
class HubModule(keras.layers.Layer):
    """The module in `folder`, always in inference mode: images float32 [N, H, W, C] to float32 [N, D].

    Its variables are the layer's own: Keras counts, trains, saves and mirrors them as any others. It computes in
    float32 under every policy, as its graph was built. A feature map [N, h, w, D] is pooled over its sides.

    Raises UnfitModuleError for a folder without a module in the format, or a module that refuses `input_shape`.
    """

    def __init__(
        self,
        folder: str,
        input_shape: tuple[int, int, int],
        pooling: Literal["avg", "max"] = "avg",
        **options: Any,
    ) -> None:
        super().__init__(**(options | {"dtype": "float32"}))
        self.folder = folder
        self.shape = tuple(input_shape)
        self.pooling = pooling
        self.module = _load(Path(folder))
        self._arguments, self._key, output = _calling(self.module, folder, self.shape)
        self._rank, self.width = len(output), output[-1]
        learning = {id(variable) for variable in _listed(self.module, "trainable_variables")}
        variables = _listed(self.module, "variables")
        self.values = [_keras_variable(variable, id(variable) in learning) for variable in variables]
        self._layers_of = [variable.name.rsplit("/", 1)[0] for variable in variables]
        self._learning = [variable.trainable for variable in self.values]
        if not self.trainable:
            self._train(set())
        self.build((None, *self.shape))

    def call(self, images: Any) -> Any:
        output = self.module(images, **self._arguments)
        if self._key is not None:
            output = output[self._key]
        if self._rank == 4:
            reduce = tf.reduce_mean if self.pooling == "avg" else tf.reduce_max
            output = reduce(output, [1, 2])
        return tf.ensure_shape(tf.cast(output, tf.float32), [None, self.width])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape[0], self.width

    def description(self) -> str:
        """Tells modules apart that compute something else, but for the values of their variables."""
        graph = (Path(self.folder) / "saved_model.pb").read_bytes()
        return f"hub {self.shape} {self._key} {hashlib.sha256(graph).hexdigest()}"

    def resources(self) -> list[Any]:
        """Tables, files and variables that the module's graph reads, as far as they are not the layer's variables."""
        seen = {id(variable.value) for variable in self.values}
        kinds = (tf.Variable, tf.saved_model.Asset, tf.saved_model.experimental.TrackableResource)
        found = tf.train.TrackableView(self.module).descendants()
        return [part for part in found if isinstance(part, kinds) and id(part) not in seen]

    def unfreeze(self, layers: int | Literal["all"]) -> int:
        """Let the last `layers` groups of variables learn, batch normalisation never; how many groups do.

        Variables whose names differ only in the last part (block_1/kernel, block_1/bias) are one layer; the layers are
        in the order of the module's variables.
        """
        named = list(zip(self._layers_of, self.values, self._learning, strict=True))
        normalizing = {layer for layer, variable, _ in named if variable.name.endswith(_MOVING)}
        found = list(dict.fromkeys(layer for layer, _, learns in named if learns and layer not in normalizing))
        chosen = set(found if layers == "all" else found[-layers:])
        self.trainable = True
        self._train(chosen)
        return len(chosen)

    def _train(self, layers: set[str]) -> None:
        for layer, variable, learns in zip(self._layers_of, self.values, self._learning, strict=True):
            variable.trainable = learns and layer in layers

    def save_own_variables(self, store: Any) -> None:
        if _KEPT.get() is None:
            super().save_own_variables(store)

    def load_own_variables(self, store: Any) -> None:
        if _KEPT.get() is None:
            super().load_own_variables(store)

    def get_config(self) -> dict[str, Any]:
        kept = _KEPT.get()
        folder = kept.name if kept else str(Path(self.folder).absolute())
        return super().get_config() | {"folder": folder, "input_shape": list(self.shape), "pooling": self.pooling}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> HubModule:
        kept = _KEPT.get()
        return cls(**(config | {"folder": str(kept)} if kept else config))


def _keras_variable(variable: tf.Variable, trainable: bool) -> keras.Variable:
    """Not a copy: keras.Variable keeps a tf.Variable as it is, the one that the module's graph reads."""
    name = re.sub("[^A-Za-z0-9_]", "_", variable.name.removesuffix(":0"))
    dtype = variable.dtype.name
    return keras.Variable(variable, trainable=trainable, dtype=dtype, autocast=False, aggregation="mean", name=name)


def _load(folder: Path) -> Any:
    if not (folder / "saved_model.pb").is_file():
        raise UnfitModuleError(f"{folder}: holds no saved_model.pb, so it is no TensorFlow Hub module")
    if (folder / "tfhub_module.pb").is_file():
        raise UnfitModuleError(f"{folder}: is in the old TF1 Hub format; take the module's TF2 SavedModel version")
    try:
        module = tf.saved_model.load(str(folder))
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UnfitModuleError(f"{folder}: cannot be loaded: {reason}; fetch the module again") from None
    if not callable(module):
        raise UnfitModuleError(
            f"{folder}: is no TensorFlow Hub module in TF2 SavedModel format: what it holds cannot be called "
            f"(signatures: {', '.join(module.signatures) or 'none'}); TF1 Hub modules and plain exports do not work"
        )
    return module


def _listed(module: Any, name: str) -> list[tf.Variable]:
    if hasattr(module, name):
        return list(getattr(module, name))
    used = {id(v): v for concrete in module.__call__.concrete_functions for v in concrete.variables}
    return [v for v in used.values() if v.trainable or name == "variables"]


def _calling(module: Any, folder: str, shape: tuple[int, ...]) -> tuple[dict[str, Any], str | None, list[int]]:
    """The arguments beside the images, the output's key if it has one, and its shape less the batch."""
    images = tf.TensorSpec([None, *shape], tf.float32)
    outputs: Any = None
    for arguments in ({"training": False}, {}):
        traced = tf.function(lambda images, arguments=arguments: module(images, **arguments), autograph=False)
        try:
            outputs = traced.get_concrete_function(images).structured_outputs
        except (ValueError, TypeError):
            continue
        break
    if outputs is None:
        accepted = " or ".join(sorted(_accepted(module))) or "something else"
        raise UnfitModuleError(
            f"{folder}: the module does not take pictures of {'x'.join(map(str, shape))}, it takes {accepted}; "
            "change preprocessing, resize(...) above all"
        )
    key = None
    if isinstance(outputs, Mapping):
        key = next((name for name in _OUTPUTS if name in outputs), None)
        key = next(iter(outputs)) if key is None and len(outputs) == 1 else key
        if key is None:
            raise UnfitModuleError(
                f"{folder}: which of the module's outputs are features? {', '.join(sorted(outputs))}"
            )
        outputs = outputs[key]
    output = outputs.shape.as_list() if hasattr(outputs, "shape") else []
    if len(output) not in (2, 4) or output[-1] is None:
        raise UnfitModuleError(f"{folder}: the module gives {outputs}, not one row of features for each picture")
    return arguments, key, output


def _accepted(module: Any) -> set[str]:
    found = set()
    for concrete in module.__call__.concrete_functions:
        specs = tf.nest.flatten(concrete.structured_input_signature)
        for spec in specs:
            if isinstance(spec, tf.TensorSpec) and spec.shape.rank == 4:
                sides = ["any" if side is None else str(side) for side in spec.shape.as_list()[1:]]
                found.add("x".join(sides))
    return found
