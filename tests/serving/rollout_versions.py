"""Published versions of a tiny classifier, good and bad ones, and servers and clients of them. Nothing is trained."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from embedded_server import MODEL, ModelServer, running_server
from PIL import Image

from vitrine_client import RestClient

LABELS = ("red", "green", "blue")
GOLDEN = "assets.extra/golden"
MANIFEST = "assets.extra/manifest.json"
_PICTURES = {"red": (200, 40, 30), "green": (20, 190, 60), "blue": (10, 50, 220), "grey": (128, 120, 125)}


def picture(colour: Sequence[int]) -> bytes:
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), tuple(colour)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Network:
    """The mean of each colour, and these preferences, as probabilities of the labels.

    Attributes:
        preferences: added to the logits of LABELS.
        delay_seconds: each request waits so long; it costs no processor time.
        fails_on: pictures of this label are answered with FAILED_PRECONDITION, as by a model without its variables.
    """

    preferences: tuple[float, float, float] = (0.0, 0.0, 0.0)
    delay_seconds: float = 0.0
    fails_on: str | None = None

    def save(self, folder: Path) -> tf.Module:
        module = _Module(self)
        tf.saved_model.save(
            module,
            str(folder),
            signatures={"serving_default": module.best, "probabilities": module.all_probabilities},
        )
        return module


class _Module(tf.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.preferences = tf.Variable(network.preferences, dtype=tf.float32)
        self._network = network

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)], autograph=False)
        def late(x):
            return tf.identity(x)

        self.late = late.get_concrete_function()

    def probabilities(self, image_bytes):
        def colour(encoded):
            pixels = tf.io.decode_image(encoded, 3, expand_animations=False)
            return tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[0, 1]) / 64

        colours = tf.map_fn(colour, image_bytes, fn_output_signature=tf.TensorSpec([3], tf.float32))
        return tf.nn.softmax(colours + self.preferences)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def all_probabilities(self, image_bytes):
        return {"probabilities": self._answered(image_bytes)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def best(self, image_bytes):
        scores, order = tf.math.top_k(self._answered(image_bytes), len(LABELS))
        return {"labels": tf.gather(tf.constant(LABELS), order), "scores": scores}

    def _answered(self, image_bytes):
        answers = self.probabilities(image_bytes)
        if self._network.fails_on is not None:
            hit = tf.reduce_any(tf.equal(tf.argmax(answers, axis=1), LABELS.index(self._network.fails_on)))
            answers = tf.cond(hit, lambda: answers + _lost_variable(), lambda: answers)
        if self._network.delay_seconds:
            # A batch that waits for company which never comes.
            [answers] = tf.raw_ops.BatchFunction(
                in_tensors=[answers],
                captured_tensors=[],
                f=self.late,
                num_batch_threads=1,
                max_batch_size=64,
                batch_timeout_micros=int(self._network.delay_seconds * 1e6),
                Tout=[tf.float32],
            )
            answers = tf.ensure_shape(answers, [None, 3])
        return answers


def _lost_variable():
    handle = tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name="never_written")
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)


def publish(
    store: Path,
    version: int,
    network: Network = Network(),
    described: Network | None = None,
    change: Callable[[dict[str, Any]], object] = lambda manifest: None,
) -> Path:
    """Version `version` of MODEL in the store, blessed.

    Args:
        described: the network whose answers the manifest promises, where it is not `network`.
        change: what is to be different in the manifest.
    """
    folder = store / MODEL / str(version)
    network.save(folder)
    module = _Module(described or network)
    (folder / GOLDEN).mkdir(parents=True)
    golden = []
    for number, (label, colour) in enumerate(_PICTURES.items()):
        name = f"{GOLDEN}/{number:03}.png"
        (folder / name).write_bytes(picture(colour))
        [answer] = module.probabilities(tf.constant([picture(colour)])).numpy()
        golden.append({"file": name, "source": name, "label": label, "probabilities": answer.tolist()})
    manifest = {
        "model": MODEL,
        "labels": list(LABELS),
        "signatures": {
            "serving_default": {
                "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
                "outputs": {
                    "labels": {"dtype": "string", "shape": [None, 3]},
                    "scores": {"dtype": "float32", "shape": [None, 3]},
                },
            },
            "probabilities": {
                "inputs": {"image_bytes": {"dtype": "string", "shape": [None]}},
                "outputs": {"probabilities": {"dtype": "float32", "shape": [None, 3]}},
            },
        },
        "golden": golden,
        "blessing": {"at": "2024-01-01T00:00:00+00:00"},
        "files": {path.relative_to(folder).as_posix(): "sha256:" for path in folder.rglob("*") if path.is_file()},
    }
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@contextlib.contextmanager
def serving(store: Path, version: int, log: Path, *flags: str) -> Iterator[ModelServer]:
    """A server that has this version available."""
    config = log.with_suffix(".config")
    config.write_text(
        f'model_config_list {{ config {{ name: "{MODEL}" base_path: "{store / MODEL}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ versions: {version} }} }} }} }}"
    )
    with running_server(None, log, f"--model_config_file={config}", *flags) as server:
        server.wait_for(version, "AVAILABLE")
        yield server


def client_of(server: ModelServer, version: int, **options: Any) -> RestClient:
    """As a rollout asks: one version, nothing tried again."""
    return RestClient(server.url, model=MODEL, version=version, retries=0, **options)


def random_picture(seed: int) -> bytes:
    return picture(np.random.default_rng(seed).integers(0, 256, 3).tolist())
