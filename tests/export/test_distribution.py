"""Several devices and several machines train one network."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import free_port, wait_until
from training_runs import few_pictures, recipe_for, started

from vitrine_export import training
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.errors import RunError
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.training.cluster import Cluster, read_cluster

FIT = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
if sys.argv[3:] == ["two devices"]:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from vitrine_export.errors import ExportError
from vitrine_export.training.devices import devices
machine = devices()
print("replicas:", machine.strategy.num_replicas_in_sync)
from vitrine_export.datasets.prepare import prepare_dataset
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.recipe import Recipe
from vitrine_export.training import fit

out, recipe = Path(sys.argv[1]), Recipe.model_validate_json(sys.argv[2])
try:
    preprocessing = Preprocessing(recipe.pipeline)
    index = prepare_dataset(recipe.dataset, preprocessing)
    network, history = fit(recipe, index, preprocessing, cache=out / "cache", checkpoint=out / "fit.checkpoint")
    np.savez(out / "weights.npz", *network.get_weights())
except ExportError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
# Without dropout: what is left is arithmetic that several devices must share exactly.
PLAIN = {"model.dropout": 0.0, "training.batch_size": 16}


@pytest.fixture(scope="module")
def pictures(digits_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return few_pictures(digits_folder, tmp_path_factory.mktemp("distribution") / "few")


def weights_of(file: Path) -> list[np.ndarray]:
    with np.load(file) as weights:
        return [weights[name] for name in weights.files]


def environments(count: int) -> list[dict[str, str]]:
    addresses = [f"localhost:{free_port()}" for _ in range(count)]
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker"}}
    return [
        os.environ | {"TF_CONFIG": json.dumps(config | {"task": {"type": "worker", "index": number}})}
        for number in range(count)
    ]


def test_two_devices_train_as_one_does(pictures: Path, tmp_path: Path) -> None:
    # 56 training pictures or so: the last batch of an epoch divides unevenly.
    recipe = recipe_for(pictures, PLAIN | {"training.batch_size": 15})
    process = started(
        FIT, tmp_path, recipe.model_dump_json(), "two devices",
        environment=os.environ, output=tmp_path / "said",
    )  # fmt: skip
    preprocessing = Preprocessing(recipe.pipeline)
    index = prepare_dataset(recipe.dataset, preprocessing)
    network, _ = training.fit(recipe, index, preprocessing, cache=tmp_path / "cache")
    assert process.wait(300) == 0, (tmp_path / "said").read_text()
    assert "replicas: 2" in (tmp_path / "said").read_text()
    for one, two in zip(network.get_weights(), weights_of(tmp_path / "weights.npz"), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@contextlib.contextmanager
def two_workers(script: str, folder: Path, *arguments: object) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`script` twice, each with the folder of its number and `arguments`; what they say goes to `said` there."""
    processes = []
    try:
        for number, environment in enumerate(environments(2)):
            out = folder / str(number)
            out.mkdir()
            processes.append(started(script, out, *arguments, environment=environment, output=out / "said"))
        yield processes
    finally:
        for process in processes:
            process.kill()


def test_two_workers_train_one_network(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, PLAIN)
    with two_workers(FIT, tmp_path, recipe.model_dump_json()) as processes:
        for number, process in enumerate(processes):
            assert process.wait(300) == 0, (tmp_path / str(number) / "said").read_text()
    first, second = (weights_of(tmp_path / str(number) / "weights.npz") for number in range(2))
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, two)


COMMAND = """
import os, sys
from vitrine_export.cli import main
os.chdir(sys.argv[1])
main(sys.argv[2:])
"""


def test_of_two_workers_the_first_writes_the_run(pictures: Path, tmp_path: Path) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "digits.yaml"
    arguments = ("train", "--recipe", recipe, "--data", pictures, "--set", "training.epochs=2")
    with two_workers(COMMAND, tmp_path, *arguments) as processes:
        for number, process in enumerate(processes):
            assert process.wait(300) == 0, (tmp_path / str(number) / "said").read_text()
    run = tmp_path / "0" / "runs" / "digits"
    assert len(json.loads((run / "history.json").read_text())["val_loss"]) == 2
    assert (run / "metrics.json").is_file()
    assert [path.name for path in (tmp_path / "1").iterdir()] == ["said"]
    assert "worker 1: done; worker 0 writes the run" in (tmp_path / "1" / "said").read_text()


def test_a_lost_worker_ends_training_with_the_checkpoint_kept(pictures: Path, tmp_path: Path) -> None:
    recipe = recipe_for(pictures, PLAIN | {"training.epochs": 10_000})
    with two_workers(FIT, tmp_path, recipe.model_dump_json()) as processes:
        wait_until((tmp_path / "0" / "fit.checkpoint").exists, "the first checkpoint", 300)
        processes[1].send_signal(signal.SIGKILL)
        assert processes[0].wait(300) == 1, (tmp_path / "0" / "said").read_text()
    said = (tmp_path / "0" / "said").read_text()
    assert "RunError: training failed: another worker of TF_CONFIG cannot be reached any more" in said
    assert (tmp_path / "0" / "fit.checkpoint").is_file()


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a JSON object"),
        ('{"task": {"type": "worker", "index": 0}}', "cluster: missing"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', "task: missing"),
        (
            '{"cluster": {"ps": ["a:1"]}, "task": {"type": "ps"}}',
            "cluster.ps: not a role here; accepted: chief, worker",
        ),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker"}}', "cluster.worker: must be a list of HOST:PORT"),
        ('{"cluster": {"worker": ["a", "b:2"]}, "task": {"type": "worker"}}', "'a' is not HOST:PORT"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {"type": "worker"}}', "'a:99999' is not HOST:PORT"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker"}}', "a:1 is given twice"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "boss"}}', "task.type: 'boss'"),
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}', "task.index: 2"),
        ('{"cluster": {}, "task": {"type": "worker", "index": 0}}', "cluster.worker: missing"),
    ],
)
def test_a_wrong_tf_config_is_explained(config: str, reason: str) -> None:
    with pytest.raises(RunError, match=r"^TF_CONFIG: ") as caught:
        read_cluster({"TF_CONFIG": config})
    assert reason in str(caught.value)


def test_the_chief_comes_first() -> None:
    config = {"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}
    assert read_cluster({"TF_CONFIG": json.dumps(config)}) == Cluster(("a:1", "b:1", "c:1"), 2)
    assert read_cluster({}) is None
