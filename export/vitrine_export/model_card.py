"""The model card: a version's manifest for people. Sections follow Mitchell et al., "Model Cards", 2019."""

from __future__ import annotations

from typing import Any

from vitrine_client.tables import format_table

# What a version has whose manifest does not list its pictures.
_FIRST_PICTURES = ("confusion_matrix.png", "predictions.png", "curves.png")


def render(manifest: dict[str, Any]) -> str:
    """Markdown text of the card.

    Figures are left out where `metrics` does not hold them. The manifest's `pictures` names what lies beside
    the card to look at: PNG files, CSV tables and the HTML report.
    """
    metrics, dataset, blessing = manifest["metrics"], manifest["dataset"], manifest["blessing"]
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
        _figures(metrics),
        _calibration(metrics, manifest.get("recipe", {})),
        _code(format_table(("class", "precision", "recall", "pictures"), per_class)),
        _pictures(manifest),
        "## What it was trained on",
        _dataset(dataset),
        "## Checks before it was served",
        _blessing(blessing),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _figures(metrics: dict[str, Any]) -> str:
    accuracy = f"Accuracy {metrics['accuracy']:.4f}"
    if "accuracy_interval" in metrics:
        low, high = metrics["accuracy_interval"]
        accuracy += f" (95 % confidence: {low:.4f} to {high:.4f})"
    figures = [accuracy]
    if "top_5_accuracy" in metrics:
        figures.append(f"top-5 accuracy {metrics['top_5_accuracy']:.4f}")
    if "macro_f1" in metrics:
        figures.append(f"macro F1 {metrics['macro_f1']:.4f}")
    figures.append(f"cross-entropy {metrics['loss']:.4f}")
    return (
        f"{', '.join(figures)} on the {metrics['pictures']} pictures of the {metrics['split']} split, which it has not "
        "been trained on."
    )


def _calibration(metrics: dict[str, Any], recipe: dict[str, Any]) -> str:
    """Empty where nothing is known."""
    if "ece" not in metrics:
        return ""
    text = (
        f"Expected calibration error of its scores, as trained: {metrics['ece']:.4f} (0 where they are honest "
        "probabilities)."
    )
    if "temperature" not in metrics:
        return text
    fitted = metrics["temperature"]
    is_built_in = recipe.get("export", {}).get("temperature_scaling", False)
    return (
        f"{text} With temperature {fitted['value']:.4f}, fitted on the {fitted['fitted_on']} split, it is "
        f"{fitted['ece_after']:.4f}. This model answers {'with' if is_built_in else 'without'} the temperature."
    )


def _pictures(manifest: dict[str, Any]) -> str:
    """The report first, then the pictures, then links to every other file; all lie beside the card."""
    names = manifest.get("pictures", _FIRST_PICTURES)
    pages = [f"All figures and mistakes on one page: [{name}]({name})" for name in names if name.endswith(".html")]
    images = [f"![{name.removesuffix('.png').replace('_', ' ')}]({name})" for name in names if name.endswith(".png")]
    tables = [f"[{name}]({name})" for name in names if not name.endswith((".html", ".png"))]
    parts = [
        *pages,
        "\n".join(images),
        f"As tables: {', '.join(tables)}" if tables else "",
        "With the recipe and the digest of every file: [manifest.json](manifest.json)",
    ]
    return "\n\n".join(part for part in parts if part)


def _dataset(dataset: dict[str, Any]) -> str:
    counts = ", ".join(f"{count} {name}" for name, count in dataset["counts"].items())
    text = f"{counts} pictures; {dataset['skipped']} files could not be used"
    if dataset.get("left_out"):
        text += f", {dataset['left_out']} pictures were left out: copies, or more than the recipe wants of a class"
    notes = "".join(f"\n- {note}" for note in dataset.get("notes", ()))
    return f"{text}. Data digest `{dataset['digest']}`.{chr(10) if notes else ''}{notes}"


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
