"""From a trained run to a candidate: a complete version that still waits for its blessing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tensorflow as tf

from vitrine_export import golden, manifest, warmup
from vitrine_export.errors import RunError
from vitrine_export.evaluation import probabilities_of
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
    network = run.network()
    chosen = golden.choose(index, recipe.export.golden_pictures)
    gone = [picture.path for picture in chosen if not index.file(picture).is_file()]
    if gone:
        raise RunError(
            f"{index.root}: pictures that the run was trained on are gone: {', '.join(gone[:3])}; train again"
        )
    with tempfile.TemporaryDirectory() as scratch:
        labels_file = Path(scratch) / "labels.txt"
        labels_file.write_text("".join(f"{label}\n" for label in index.labels), encoding="utf-8")
        batching = recipe.export.batching
        module = ServingModule(network, index.labels, labels_file, preprocessing, batching, recipe.export.top_k)
        module.save(version)
    entries = golden.write(version, index, chosen, probabilities_of(network, index, chosen, preprocessing))
    pictures = [index.file(picture).read_bytes() for picture in chosen]
    size = preprocessing.output_shape[:2]
    records = warmup.write(version, recipe.name, pictures, batching.allowed_batch_sizes, size)
    for plot in sorted(run.plots.glob("*.png")):
        shutil.copyfile(plot, version / "assets.extra" / plot.name)
    described = manifest.describe(recipe, index, run.metrics(), entries, _signatures(module), records)
    manifest.write(version, described)


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
