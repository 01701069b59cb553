"""Networks from recipes: their layers, their outputs under every policy."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from vitrine_export.models import FEATURES, LOGITS, build, transfer, with_features
from vitrine_export.recipe import Cnn, LeNet, Transfer


@pytest.fixture
def policy(request: pytest.FixtureRequest) -> Iterator[str]:
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy("float32")


def layers(network: keras.Model, kind: type[keras.layers.Layer]) -> list[keras.layers.Layer]:
    return [layer for layer in network.layers if isinstance(layer, kind)]


@pytest.mark.parametrize(
    ("model", "filters"),
    [({}, [32, 64, 128]), ({"filters": [4, 8]}, [4, 8]), ({"filters": 6, "blocks": 4}, [6, 6, 6, 6])],
)
def test_a_cnn_has_the_blocks_of_the_recipe(model: dict[str, object], filters: list[int]) -> None:
    network = build(Cnn(name="cnn", **model), (32, 32, 3), classes=5)
    assert [layer.filters for layer in layers(network, keras.layers.Conv2D)] == filters
    assert network.output_shape == (None, 5)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_cnn_has_the_dense_layers_of_the_recipe(count: int) -> None:
    network = build(Cnn(name="cnn", filters=[4], dense=7, dense_layers=count), (8, 8, 1), classes=3)
    *hidden, logits = layers(network, keras.layers.Dense)
    assert [layer.units for layer in hidden] == [7] * count
    assert (logits.name, logits.units) == (LOGITS, 3)
    assert with_features(network).output_shape[1] == (None, 7 if count else 64)


@pytest.mark.parametrize("normalized", [True, False])
def test_a_convolution_has_a_bias_where_nothing_normalizes_it_away(normalized: bool) -> None:
    network = build(Cnn(name="cnn", filters=[4, 4], batch_normalization=normalized), (8, 8, 3), classes=2)
    assert len(layers(network, keras.layers.BatchNormalization)) == (2 if normalized else 0)
    assert {layer.use_bias for layer in layers(network, keras.layers.Conv2D)} == {not normalized}


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize(
    "model",
    [
        LeNet(name="lenet"),
        Cnn(name="cnn", filters=[4]),
        Transfer(name="transfer", backbone="keras.applications/MobileNetV2", weights=None),
    ],
    ids=lambda model: model.name,
)
def test_logits_and_features_are_float32_under_mixed_precision(policy: str, model: LeNet | Cnn | Transfer) -> None:
    if isinstance(model, Transfer):
        backbone = transfer.load_backbone(model, (32, 32, 3))
        head = transfer.build_head(model, backbone.width, classes=3)
        network = transfer.assemble(backbone, head, (32, 32, 3))
    else:
        network = build(model, (32, 32, 3), classes=3)
    assert policy in {layer.dtype_policy.name for layer in network.layers}
    logits, features = with_features(network)(np.zeros((2, 32, 32, 3), np.float32))
    assert (logits.dtype.name, features.dtype.name) == ("float32", "float32")


def test_the_last_two_layers_are_the_features_and_the_logits() -> None:
    network = build(LeNet(name="lenet"), (32, 32, 1), classes=10)
    assert [layer.name for layer in network.layers[-2:]] == [FEATURES, LOGITS]
    pictures = np.random.default_rng(0).random((3, 32, 32, 1), np.float32)
    logits, features = with_features(network)(pictures)
    np.testing.assert_allclose(logits, network(pictures), atol=1e-6)
    np.testing.assert_allclose(network.get_layer(LOGITS)(features), logits, atol=1e-6)
