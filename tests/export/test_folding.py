"""Batch normalisation is folded into the layer before it where that changes no answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from tensorflow.python.saved_model import loader_impl

from vitrine_export import golden
from vitrine_export.blessing import bless
from vitrine_export.exporting import export
from vitrine_export.models import build, fold_batch_norms, transfer
from vitrine_export.recipe import Cnn, Transfer
from vitrine_export.runs import Run

layers = keras.layers
SHAPE = (12, 12, 4)


def trained(network: keras.Model, seed: int = 0) -> keras.Model:
    """With statistics, scales and biases as training leaves them: none is that of a fresh layer."""
    random = np.random.default_rng(seed)
    for variable in network.variables:
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(random.uniform(0.5, 2.0, variable.shape))
        elif variable.name in ("moving_mean", "beta", "bias"):
            variable.assign(random.normal(0.0, 0.3, variable.shape))
    return network


def network_of(make: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    inputs = keras.Input(SHAPE)
    return trained(keras.Model(inputs, make(inputs)))


def norms(network: keras.Model) -> int:
    return sum(isinstance(layer, layers.BatchNormalization) for layer in network.layers)


def require_same_answers(network: keras.Model, other: keras.Model) -> None:
    images = np.random.default_rng(1).normal(size=(5, *network.input_shape[1:])).astype(np.float32)
    expected, found = network(images, training=False), other(images, training=False)
    for one, two in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5 * float(np.abs(one).max()))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(8, 3, use_bias=False),
        layers.Conv2D(8, 3, strides=2, padding="same"),
        layers.Conv2D(8, 3, groups=2),
        layers.DepthwiseConv2D(3, depth_multiplier=3, use_bias=False),
        layers.SeparableConv2D(8, 3, depth_multiplier=2),
        layers.Dense(8),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.parametrize("options", [{}, {"scale": False, "center": False, "epsilon": 0.5}], ids=["whole", "bare"])
def test_a_linear_layer_takes_the_normalisation_after_it(layer: keras.Layer, options: dict[str, object]) -> None:
    fresh = type(layer).from_config(layer.get_config())
    network = network_of(lambda inputs: layers.ReLU()(layers.BatchNormalization(**options)(fresh(inputs))))
    before = [weight.copy() for weight in network.get_weights()]
    folded = fold_batch_norms(network)
    assert norms(folded) == 0
    require_same_answers(network, folded)
    # The trained network is what is asked for the golden answers.
    for one, two in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def used_twice(inputs: keras.KerasTensor) -> keras.KerasTensor:
    convolved = layers.Conv2D(4, 1)(inputs)
    return layers.Add()([convolved, layers.BatchNormalization()(convolved)])


def an_output_too(inputs: keras.KerasTensor) -> list[keras.KerasTensor]:
    convolved = layers.Conv2D(4, 1)(inputs)
    return [convolved, layers.BatchNormalization()(convolved)]


def a_shared_layer(inputs: keras.KerasTensor) -> keras.KerasTensor:
    shared = layers.Conv2D(4, 1)
    return layers.Add()([layers.BatchNormalization()(shared(inputs)), shared(layers.ReLU()(inputs))])


def a_shared_norm(inputs: keras.KerasTensor) -> keras.KerasTensor:
    shared = layers.BatchNormalization()
    return layers.Add()([shared(layers.Conv2D(4, 1)(inputs)), shared(inputs)])


@pytest.mark.parametrize(
    "make",
    [
        used_twice,
        an_output_too,
        a_shared_layer,
        a_shared_norm,
        lambda inputs: layers.BatchNormalization()(layers.Conv2D(4, 1, activation="relu")(inputs)),
        lambda inputs: layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(inputs)),
        lambda inputs: layers.BatchNormalization()(layers.ZeroPadding2D()(layers.Conv2D(4, 1)(inputs))),
        lambda inputs: layers.Conv2D(4, 1)(layers.BatchNormalization()(inputs)),
    ],
    ids=["used twice", "an output", "shared layer", "shared norm", "relu", "other axis", "padded", "norm first"],
)
def test_what_is_not_one_linear_layer_stays_as_it_is(make: Callable[[keras.KerasTensor], keras.KerasTensor]) -> None:
    network = network_of(make)
    assert fold_batch_norms(network) is network


def test_a_network_without_normalisation_stays_as_it_is() -> None:
    network = build(Cnn(name="cnn", filters=[4], batch_normalization=False), (8, 8, 3), classes=2)
    assert fold_batch_norms(network) is network


def test_a_backbone_of_keras_is_folded() -> None:
    config = Transfer(name="transfer", backbone="keras.applications/MobileNetV2", weights=None)
    backbone = transfer.load_backbone(config, (32, 32, 3))
    head = transfer.build_head(config, backbone.width, 3)
    network = trained(transfer.assemble(backbone, head, (32, 32, 3)))
    folded = fold_batch_norms(network)
    require_same_answers(network, folded)
    [found] = [layer for layer in folded.layers if layer.name == backbone.name]
    assert (norms(backbone.network), norms(found.network)) == (52, 0)


@pytest.mark.parametrize("allowed", [golden.TOLERANCE, 0.0])
def test_an_export_is_folded_where_the_golden_answers_stay(
    digits_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float
) -> None:
    run = Run(Path(shutil.copytree(digits_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("candidate"))))
    shape = run.network().input_shape[1:]
    trained(build(Cnn(name="cnn", filters=[4], batch_normalization=True), shape, 10)).save(run.network_file)
    monkeypatch.setattr(golden, "TOLERANCE", allowed)
    candidate = export(run)
    bless(candidate)
    graph = loader_impl.parse_saved_model(str(candidate)).meta_graphs[0].graph_def
    operations = {node.op for function in graph.library.function for node in function.node_def}
    # Of the variance; nothing else in there has a square root.
    assert ("Rsqrt" in operations) == (allowed == 0)
