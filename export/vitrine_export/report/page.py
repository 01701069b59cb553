"""The page: what the template is given, and how it is filled."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vitrine_client.tables import printable
from vitrine_export import plots
from vitrine_export.report.content import Content
from vitrine_export.report.images import Figure, figure, photo

# A table with more columns is no longer looked through, a picture is.
_MOST_COLUMNS = 12
_MOST_PAIRS = 15


def write(content: Content, path: Path) -> None:
    """Write the page to `path`. Raises OSError."""
    path.write_text(render(content), encoding="utf-8")


def render(content: Content) -> str:
    """The page as HTML: pictures, styles and script inside; its policy forbids everything else."""
    files = resources.files(__package__)
    style, script = (files.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    # Labels and paths come from elsewhere: the template escapes them, this leaves out what no page may hold.
    environment.finalize = lambda value: printable(value) if type(value) is str else value
    environment.filters |= {"percent": percent, "breakable": breakable, "photo": photo}
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.from_string(files.joinpath("report.html.j2").read_text(encoding="utf-8")).render(
        content=content,
        metrics=content.metrics,
        # Both are files of this package, not input.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        policy=policy,
        figures=_figures(content),
        best=plots.best_epoch(content.history),
        classes=_classes(content),
        baseline=_baseline(content),
        pairs=_most_confused(content),
    )


def percent(share: float, digits: int = 1) -> Markup:
    return Markup("{}&nbsp;%").format(f"{share * 100:.{digits}f}")


def breakable(name: str) -> Markup:
    """A label or path that may go on in the next line after each _ and /."""
    text = Markup.escape(printable(name))
    return text.replace("_", Markup("_<wbr>")).replace("/", Markup("/<wbr>"))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _figures(content: Content) -> dict[str, Figure]:
    labels, history = content.index.labels, content.history
    found = {
        "reliability": figure(
            content.reliability,
            f"Accuracy over confidence; the expected calibration error is {content.metrics['ece'] * 100:.1f} %",
        ),
        "distribution": figure(
            content.distribution,
            f"Bars of the number of pictures of each of {len(labels)} classes in training, validation and test",
        ),
    }
    for key in ("loss", "accuracy") if history else ():
        last = f"at the end {history[key][-1]:.3f} in training"
        if f"val_{key}" in history:
            last += f", {history[f'val_{key}'][-1]:.3f} in validation"
        drawing = plots.Drawing(partial(plots.curve, history, key))
        found[key] = figure(drawing, f"{key.capitalize()} over the epochs: {last}")
    if len(labels) > _MOST_COLUMNS:
        found["confusion"] = figure(
            content.confusion,
            f"Confusion matrix of {len(labels)} classes; the most frequent mistakes are in the table below it",
        )
    return found


def _classes(content: Content) -> list[dict[str, Any]]:
    counts = Counter((picture.label, picture.split) for picture in content.index.pictures)
    return [
        {"label": label, "train": counts[label, "train"], **row} for label, row in content.metrics["per_class"].items()
    ]


def _baseline(content: Content) -> float:
    """The accuracy of always answering the class that is most frequent in training."""
    counts = Counter(picture.label for picture in content.index.split("train"))
    if not counts:
        return 0.0
    [(most, _)] = counts.most_common(1)
    return content.metrics["per_class"][most]["pictures"] / content.metrics["pictures"]


def _most_confused(content: Content) -> list[tuple[str, str, int, float]]:
    """The most frequent mistakes: true label, answered label, pictures, and their share of the true class's."""
    labels, matrix = content.index.labels, content.metrics["confusion_matrix"]
    pairs = [
        (labels[true], labels[answer], count, count / sum(row))
        for true, row in enumerate(matrix)
        for answer, count in enumerate(row)
        if count and true != answer
    ]
    return sorted(pairs, key=lambda pair: -pair[2])[:_MOST_PAIRS]
