"""From a trained run to a candidate: a complete version that still waits for its blessing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from vitrine_export import golden, manifest, warmup
from vitrine_export.errors import RunError
from vitrine_export.evaluation import probabilities_of
from vitrine_export.models import fold_batch_norms
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.runs import Run
from vitrine_export.signatures import SIGNATURES, ServingModule
from vitrine_export.staging import replacing


def export(run: Run) -> Path:
    """Write `run.candidate` and return it; an earlier candidate is replaced.

    Raises RunError where the run is incomplete, its pictures are gone, or the folder cannot be written.
    """
    run.require()
    try:
        with replacing(run.candidate) as version:
            _write(run, version)
    except (OSError, tf.errors.OpError) as error:
        reason = error.message if isinstance(error, tf.errors.OpError) else error.strerror or error
        raise RunError(f"cannot write the export to {run.candidate}: {reason}") from None
    return run.candidate


def _write(run: Run, version: Path) -> None:
    recipe, index = run.recipe(), run.dataset()
    preprocessing = Preprocessing(recipe.pipeline)
    metrics = run.metrics()
    temperature = _temperature(run, metrics) if recipe.export.temperature_scaling else 1.0
    network = run.network()
    chosen = golden.choose(index, recipe.export.golden_pictures)
    gone = [picture.path for picture in chosen if not index.file(picture).is_file()]
    if gone:
        raise RunError(
            f"{index.root}: pictures that the run was trained on are gone: {', '.join(gone[:3])}; train again"
        )
    answers = probabilities_of(network, index, chosen, preprocessing, temperature=temperature)
    served = fold_batch_norms(network)
    if served is not network:
        folded = probabilities_of(served, index, chosen, preprocessing, temperature=temperature)
        if not _is_same(folded, answers):
            served = network
    with tempfile.TemporaryDirectory() as scratch:
        labels_file = Path(scratch) / "labels.txt"
        labels_file.write_text("".join(f"{label}\n" for label in index.labels), encoding="utf-8")
        batching = recipe.export.batching
        module = ServingModule(
            served, index.labels, labels_file, preprocessing, batching, recipe.export.top_k, temperature
        )
        module.save(version)
    entries = golden.write(version, index, chosen, answers)
    pictures = [index.file(picture).read_bytes() for picture in chosen]
    size = preprocessing.output_shape[:2]
    records = warmup.write(version, recipe.name, pictures, batching.allowed_batch_sizes, size)
    shown = [*sorted(run.plots.glob("*.png")), *(file for file in run.tables if file.is_file())]
    for file in shown:
        shutil.copyfile(file, version / "assets.extra" / file.name)
    described = manifest.describe(recipe, index, metrics, entries, _signatures(module), records)
    manifest.write(version, {**described, "pictures": [file.name for file in shown]})


def _is_same(folded: NDArray[np.float32], answers: NDArray[np.float32]) -> bool:
    """Whether no probability of the golden pictures, of which there has to be one, changes by more than allowed.

    Where a channel's mean is thousands of times its deviation, rounding shows.
    """
    # The other half is for what a server's batches change.
    return answers.size > 0 and bool(np.abs(folded - answers).max() <= golden.TOLERANCE / 2)


def _temperature(run: Run, metrics: dict[str, Any]) -> float:
    """What the evaluation found best to divide the logits by."""
    if "temperature" not in metrics:
        raise RunError(
            f"{run.folder}: export.temperature_scaling needs a temperature, and the evaluation has none, for want of "
            "validation pictures; evaluate again (vitrine-export evaluate), or set it to false"
        )
    return float(metrics["temperature"]["value"])


def _signatures(module: ServingModule) -> dict[str, Any]:
    """Names, dtypes and shapes of every signature's inputs and outputs; None is an open dimension."""
    signatures = {}
    for name in SIGNATURES:
        concrete = getattr(module, name).get_concrete_function()
        inputs = {spec.name: spec for spec in concrete.structured_input_signature[0]}
        signatures[name] = {
            "inputs": _specs(inputs.items()),
            "outputs": _specs(concrete.structured_outputs.items()),
        }
    return signatures


def _specs(items: Iterable[tuple[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"dtype": spec.dtype.name, "shape": spec.shape.as_list()} for name, spec in sorted(items)}
