"""Backbones from TensorFlow Hub and keras.applications: loaded, frozen, tuned, kept, and refused with a reason."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub_module import write_module

from vitrine_export.errors import RecipeError, RunError
from vitrine_export.models import storage, transfer
from vitrine_export.recipe import Transfer

HUB = "hub/mobilenet_v2_035_224_feature_vector"
KERAS = "keras/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
SMALL = (32, 32, 3)


@pytest.fixture
def module(tmp_path: Path) -> Callable[..., Path]:
    return lambda **options: write_module(tmp_path / "module", **options)


def hub(folder: Path, **options: object) -> Transfer:
    return Transfer(name="transfer", backbone=str(folder), **options)


def application(shared_data: Path) -> Transfer:
    weights = str(shared_data / "weights" / KERAS)
    return Transfer(
        name="transfer", backbone="keras.applications/MobileNetV2", weights=weights, arguments={"alpha": 0.35}
    )


def network_of(config: Transfer, shape: tuple[int, int, int], classes: int = 3) -> keras.Model:
    backbone = transfer.load_backbone(config, shape)
    return transfer.assemble(backbone, transfer.build_head(config, backbone.width, classes), shape)


def pictures(shape: tuple[int, ...], count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).random((count, *shape), np.float32)


def changed_by_a_step(network: keras.Model, shape: tuple[int, ...]) -> set[str]:
    """The last parts of the names of the variables that a step of training changes."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Long enough steps would drive all features to where ReLU6 is flat, and no gradient would reach what is below.
    network.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False, run_eagerly=True)
    before = [variable.numpy() for variable in network.variables]
    network.train_on_batch(pictures(shape), np.array([0, 1, 2, 0]))
    after = [variable.numpy() for variable in network.variables]
    pairs = zip(network.variables, before, after, strict=True)
    return {variable.path for variable, old, new in pairs if not np.array_equal(old, new)} - {
        variable.path for variable in network.variables if "seed_generator" in variable.path
    }


HEAD = {"logits/kernel", "logits/bias"}


def test_a_hub_module_is_frozen_then_tuned_from_its_end(module: Callable[..., Path]) -> None:
    network = network_of(hub(module()), SMALL)
    assert changed_by_a_step(network, SMALL) == HEAD
    assert transfer.unfreeze(network, 1) == 1
    assert changed_by_a_step(network, SMALL) == HEAD | {"net_last_kernel"}
    assert transfer.unfreeze(network, "all") == 2
    assert changed_by_a_step(network, SMALL) == HEAD | {"net_last_kernel", "net_conv_kernel"}
    assert transfer.unfreeze(network, 1) == 1
    assert {variable.path for variable in network.trainable_variables} == HEAD | {"net_last_kernel"}


def test_an_application_is_frozen_then_tuned_from_its_end(shared_data: Path) -> None:
    network = network_of(application(shared_data), SMALL)
    assert changed_by_a_step(network, SMALL) == HEAD
    assert transfer.unfreeze(network, 2) == 2
    assert changed_by_a_step(network, SMALL) == HEAD | {"block_16_project/kernel", "Conv_1/kernel"}
    assert transfer.unfreeze(network, "all") == 52
    changed = changed_by_a_step(network, SMALL)
    assert "Conv1/kernel" in changed
    assert not [name for name in changed if "moving" in name or "BN" in name or "bn" in name]


def test_a_backbone_gives_what_it_gives_by_itself(shared_data: Path) -> None:
    folder = shared_data / "weights" / HUB
    images = pictures((224, 224, 3), 2)
    expected = tf.saved_model.load(str(folder))(images, training=False)
    backbone = transfer.load_backbone(hub(folder), (224, 224, 3))
    np.testing.assert_allclose(backbone(images), expected, atol=1e-6)
    assert (len(backbone.variables), backbone.trainable_variables) == (260, [])

    with pytest.raises(RecipeError, match="does not take pictures of 96x96x3, it takes 224x224x3"):
        transfer.load_backbone(hub(folder), (96, 96, 3))
    with pytest.raises(RecipeError, match="does not take pictures of 224x224x1, it takes 224x224x3"):
        transfer.load_backbone(hub(folder), (224, 224, 1))


def test_a_classifier_from_the_hub_gives_its_logits_as_features(shared_data: Path) -> None:
    folder = shared_data / "weights" / "hub" / "mobilenet_v2_100_224_classification"
    assert transfer.load_backbone(hub(folder), (224, 224, 3)).width == 1001


@pytest.mark.parametrize("options", [{"key": "default"}, {"key": "feature_vector"}, {"training": False}])
def test_modules_that_answer_with_names_or_know_no_training(module: Callable[..., Path], options: dict) -> None:
    backbone = transfer.load_backbone(hub(module(**options)), SMALL)
    assert backbone(pictures(SMALL)).shape == (4, 6)
    assert len(backbone.variables) == 4


def test_a_module_whose_features_have_no_known_name(module: Callable[..., Path]) -> None:
    with pytest.raises(RecipeError, match="which of the module's outputs are features\\? mystery, other"):
        transfer.load_backbone(hub(module(key="mystery")), SMALL)


def test_folders_that_hold_no_module(tmp_path: Path, module: Callable[..., Path]) -> None:
    plain = tf.Module()
    plain.serve = tf.function(lambda x: {"y": x}, [tf.TensorSpec([None], tf.float32)])
    tf.saved_model.save(plain, str(tmp_path / "plain"), signatures={"default": plain.serve})
    with pytest.raises(RecipeError, match=r"no TensorFlow Hub module in TF2.*signatures: default"):
        transfer.load_backbone(hub(tmp_path / "plain"), SMALL)
    (tmp_path / "plain" / "tfhub_module.pb").write_bytes(b"\x08\x03")
    with pytest.raises(RecipeError, match="old TF1 Hub format"):
        transfer.load_backbone(hub(tmp_path / "plain"), SMALL)
    broken = module()
    (broken / "saved_model.pb").write_bytes(b"not a graph")
    with pytest.raises(RecipeError, match=r"module: cannot be loaded: .*; fetch the module again"):
        transfer.load_backbone(hub(broken), SMALL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": "keras.applications/MobileNetV9", "input": "raw"}, r"unknown; accepted: ConvNeXtBase, "),
        ({"arguments": {"alhpa": 0.35}}, "alhpa: MobileNetV2 accepts alpha"),
        ({"arguments": {"alpha": "wide"}}, "keras.applications/MobileNetV2: "),
        ({"weights": "gone.h5"}, "no file gone.h5"),
        ({"arguments": {"alpha": 0.5}}, "are not weights of MobileNetV2 without its classifier"),
    ],
)
def test_an_application_that_cannot_be_made(shared_data: Path, change: dict[str, object], said: str) -> None:
    config = application(shared_data).model_copy(update=change)
    with pytest.raises(RecipeError, match=said):
        transfer.load_backbone(config, SMALL)


def test_pictures_that_an_application_does_not_take(shared_data: Path) -> None:
    with pytest.raises(RecipeError, match="at least 32x32"):
        transfer.load_backbone(application(shared_data), (8, 8, 3))


def test_a_broken_file_of_weights(shared_data: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.h5").write_bytes(b"no weights")
    config = application(shared_data).model_copy(update={"weights": str(tmp_path / "weights.h5")})
    with pytest.raises(RecipeError, match=r"weights\.h5: are not weights of MobileNetV2"):
        transfer.load_backbone(config, SMALL)


def test_weights_that_cannot_be_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(fname: str, origin: str, **_: object) -> str:
        raise Exception(f"URL fetch failure on {origin}: None -- no network")

    # The network of the machine that tests run on is not known; what Keras raises without one is.
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    config = Transfer(name="transfer", backbone="keras.applications/MobileNet")
    with pytest.raises(RecipeError, match=f"{tmp_path}/models/mobilenet_1_0_224_tf_no_top.h5, where keras looks first"):
        transfer.load_backbone(config, (224, 224, 3))


_LOAD = """
import json, pathlib, sys
import numpy as np
from vitrine_export.models import storage

pictures = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
print(json.dumps([storage.load(pathlib.Path(run))(pictures).numpy().tolist() for run in sys.argv[1:]]))
"""


def test_a_network_is_the_same_after_its_folder_moved(
    shared_data: Path, module: Callable[..., Path], tmp_path: Path
) -> None:
    source = module()
    expected = []
    for name, config in {"hub": hub(source), "application": application(shared_data)}.items():
        network = network_of(config, SMALL)
        transfer.unfreeze(network, 2)
        changed_by_a_step(network, SMALL)
        expected.append(network(pictures(SMALL)).numpy())
        (tmp_path / "runs" / name).mkdir(parents=True)
        storage.save(network, tmp_path / "runs" / name)
    shutil.rmtree(source)
    moved = (tmp_path / "runs").rename(tmp_path / "elsewhere")
    command = [sys.executable, "-c", _LOAD, moved / "hub", moved / "application"]
    done = subprocess.run(command, capture_output=True, check=True, cwd=tmp_path)
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-6)

    (moved / "hub" / "backbone" / "variables" / "variables.index").unlink()
    with pytest.raises(RunError, match=r"backbone: cannot be loaded.*train again"):
        storage.load(moved / "hub")
    (moved / "application" / "model.keras").write_text("{")
    with pytest.raises(RunError, match=r"model\.keras: cannot be read"):
        storage.load(moved / "application")


def test_weights_of_a_tuned_module_outlive_a_checkpoint(module: Callable[..., Path], tmp_path: Path) -> None:
    config = hub(module())
    network = network_of(config, SMALL)
    transfer.unfreeze(network, "all")
    changed_by_a_step(network, SMALL)
    network.save_weights(tmp_path / "checkpoint.weights.h5")
    resumed = network_of(config, SMALL)
    resumed.load_weights(tmp_path / "checkpoint.weights.h5")
    np.testing.assert_array_equal(resumed(pictures(SMALL)), network(pictures(SMALL)))


def test_a_hub_module_is_mirrored_to_all_devices(module: Callable[..., Path]) -> None:
    config = hub(module())
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    with strategy.scope():
        network = network_of(config, SMALL)
        transfer.unfreeze(network, "all")
    assert all(isinstance(v.value, tf.distribute.DistributedValues) for v in network.variables[:4])
    with strategy.scope():
        network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    before = network(pictures(SMALL)).numpy()
    network.fit(pictures(SMALL), np.array([0, 1, 2, 0]), verbose=0)
    assert not np.allclose(before, network(pictures(SMALL)))


def test_grouped_convolutions_are_depthwise_ones_that_need_no_xla() -> None:
    keras.utils.set_random_seed(0)
    config = Transfer(name="transfer", backbone="keras.applications/ConvNeXtTiny", weights=None)
    backbone = transfer.load_backbone(config, SMALL)
    keras.utils.set_random_seed(0)
    original = keras.applications.ConvNeXtTiny(weights=None, include_top=False, input_shape=SMALL, pooling="avg")
    np.testing.assert_allclose(backbone(pictures(SMALL)), original(pictures(SMALL)), atol=1e-4)
    traced = tf.function(backbone, autograph=False).get_concrete_function(tf.TensorSpec([None, *SMALL]))
    library = traced.graph.as_graph_def().library.function
    assert not any(function.attr["_XlaMustCompile"].b for function in library)
