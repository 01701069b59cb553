"""The part of a blessing that runs in a fresh process: load and answer as TensorFlow Serving does.

    python -m vitrine_export.blessing_probe VERSION_FOLDER

Prints one JSON object on stdout; a failure is an object with the key `failure`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from vitrine_export import golden, manifest
from vitrine_export.signatures import CLASSIFY_METHOD, EXAMPLE_KEY, SIGNATURES
from vitrine_serving.embedded.inference import warmup as warmup_replay
from vitrine_serving.embedded.inference.saved_model import SavedModel, load_saved_model

_TIMED_REQUESTS = 20


class ProbeFailure(Exception):
    """The export did not do what it must."""


def probe(version: Path) -> dict[str, Any]:
    """Figures of the version in `version`; raises ProbeFailure, or whatever the loader raises."""
    described = manifest.read(version)
    labels = (version / "assets" / "labels.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    if labels != described["labels"]:
        raise ProbeFailure("assets/labels.txt differs from the manifest's labels")
    _refuse_xla(version)
    model = load_saved_model(str(version))
    try:
        _require_signatures(model.signatures)
        replayed = warmup_replay.replay(model, str(version))
        if replayed != described["warmup_records"]:
            raise ProbeFailure(f"{replayed} warm-up records were read, {described['warmup_records']} were written")
        pictures = [(version / entry["file"]).read_bytes() for entry in described["golden"]]
        difference = _check_golden(model, labels, described["golden"], pictures)
        return {
            "golden": len(pictures),
            "max_difference": difference,
            "warmup_records": replayed,
            "latency_ms": {name: _median_ms(model, name, pictures[0]) for name in SIGNATURES},
        }
    finally:
        model.close()


def _require_signatures(signatures: Mapping[str, Any]) -> None:
    missing = [name for name in SIGNATURES if name not in signatures]
    if missing:
        raise ProbeFailure(f"signatures missing: {', '.join(missing)}")
    method = signatures["classify"].method_name
    if method != CLASSIFY_METHOD:
        raise ProbeFailure(f"the signature classify has the method name {method!r}, not {CLASSIFY_METHOD!r}")


def _refuse_xla(version: Path) -> None:
    """TensorFlow Serving switches XLA off: what must be compiled fails there on its first request."""
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    for meta_graph in saved.meta_graphs:
        library = meta_graph.graph_def.library.function
        nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
        if any(part.attr["_XlaMustCompile"].b for part in [*library, *nodes] if "_XlaMustCompile" in part.attr):
            raise ProbeFailure("a function has jit_compile=True, which TensorFlow Serving refuses to run")


def _check_golden(model: SavedModel, labels: list[str], entries: list[golden.Golden], pictures: list[bytes]) -> float:
    """The largest difference between the answers and the trained network's; every signature must agree."""
    expected = np.array([entry["probabilities"] for entry in entries], np.float32)
    batch = np.array(pictures, object)
    answered = model.run("probabilities", {"image_bytes": batch})["probabilities"]
    if answered.shape != expected.shape:
        raise ProbeFailure(f"probabilities have the shape {answered.shape}, expected {expected.shape}")
    difference = float(np.abs(answered - expected).max())
    # A comparison with NaN is never true, so this way round.
    if not difference <= golden.TOLERANCE:
        raise ProbeFailure(f"golden pictures: probabilities differ by {difference:.2e}, allowed {golden.TOLERANCE:.0e}")
    top = answered.argmax(axis=1)
    for name, key in (("serving_default", "labels"), ("classify", "classes")):
        outputs = model.run(name, _inputs(name, pictures))
        best = [label.decode() for label in outputs[key][:, 0]]
        if best != [labels[number] for number in top]:
            raise ProbeFailure(f"signature {name}: its first label is not that of the highest probability")
        if not np.allclose(outputs["scores"][:, 0], answered.max(axis=1), atol=golden.TOLERANCE):
            raise ProbeFailure(f"signature {name}: its first score is not the highest probability")
    features = model.run("features", {"image_bytes": batch})["features"]
    if features.ndim != 2 or len(features) != len(pictures) or not np.isfinite(features).all():
        raise ProbeFailure(f"signature features: not finite, or of shape {features.shape}")
    return difference


def _inputs(signature: str, pictures: list[bytes]) -> dict[str, np.ndarray[Any, Any]]:
    if signature == "classify":
        examples = []
        for picture in pictures:
            feature = {EXAMPLE_KEY: tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))}
            examples.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
        return {"inputs": np.array(examples, object)}
    if signature == "pixels":
        return {
            "images": np.stack([tf.io.decode_image(p, channels=3, expand_animations=False).numpy() for p in pictures])
        }
    return {"image_bytes": np.array(pictures, object)}


def _median_ms(model: SavedModel, signature: str, picture: bytes) -> float:
    inputs, times = _inputs(signature, [picture]), []
    for _ in range(_TIMED_REQUESTS):
        start = time.perf_counter()
        model.run(signature, inputs)
        times.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(times), 3)


def main() -> None:
    try:
        outcome = probe(Path(sys.argv[1]))
    except Exception as error:
        outcome = {"failure": f"{type(error).__name__}: {error}" if not isinstance(error, ProbeFailure) else str(error)}
    sys.stdout.write(json.dumps(outcome) + "\n")


if __name__ == "__main__":
    main()
