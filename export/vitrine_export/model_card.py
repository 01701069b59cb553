"""The model card: a version's manifest for people. Sections follow Mitchell et al., "Model Cards", 2019."""

from __future__ import annotations

from typing import Any

from vitrine_client.tables import format_table


def render(manifest: dict[str, Any]) -> str:
    """Markdown text of the card."""
    metrics, dataset, blessing = manifest["metrics"], manifest["dataset"], manifest["blessing"]
    counts = ", ".join(f"{count} {name}" for name, count in dataset["counts"].items())
    libraries = ", ".join(f"{name} {version}" for name, version in manifest["libraries"].items())
    per_class = [
        (label, f"{row['precision']:.3f}", f"{row['recall']:.3f}", str(row["pictures"]))
        for label, row in metrics["per_class"].items()
    ]
    sections = [
        f"# {manifest['model']}",
        manifest["description"],
        f"Made {manifest['created']} from commit {manifest['git_commit'] or 'unknown'} with {libraries}.",
        "## What it answers",
        f"One of {len(manifest['labels'])} labels for a picture. Preprocessing, inside the model: "
        f"`{manifest['preprocessing']}`.",
        _code(_signatures(manifest["signatures"])),
        "## How good it is",
        f"Accuracy {metrics['accuracy']:.4f}, cross-entropy {metrics['loss']:.4f} on the {metrics['pictures']} "
        f"pictures of the {metrics['split']} split, which it has not been trained on.",
        _code(format_table(("class", "precision", "recall", "pictures"), per_class)),
        "![confusion matrix](confusion_matrix.png)\n![predictions](predictions.png)\n![curves](curves.png)",
        "## What it was trained on",
        f"{counts} pictures; {dataset['skipped']} files were left out. Data digest `{dataset['digest']}`.",
        "## Checks before it was served",
        _blessing(blessing),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _signatures(signatures: dict[str, Any]) -> str:
    def tensors(side: dict[str, Any]) -> str:
        return ", ".join(f"{name} {info['dtype']}{info['shape']}" for name, info in sorted(side.items()))

    rows = [(name, tensors(entry["inputs"]), tensors(entry["outputs"])) for name, entry in signatures.items()]
    return format_table(("signature", "inputs", "outputs"), rows)


def _blessing(blessing: dict[str, Any] | None) -> str:
    if blessing is None:
        return "None yet."
    rows = [(name, f"{value:.2f}") for name, value in blessing["latency_ms"].items()]
    return (
        f"Blessed {blessing['at']}: loaded in a fresh process as TensorFlow Serving does, {blessing['golden']} golden "
        f"pictures answered within {blessing['max_difference']:.1e} of training, {blessing['warmup_records']} "
        "warm-up records replayed. Median milliseconds for one picture on the machine that blessed it:\n\n"
        + _code(format_table(("signature", "ms"), rows))
    )


def _code(text: str) -> str:
    return f"```\n{text}\n```"
