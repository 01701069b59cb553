"""Figures that can be counted by hand, tables that spreadsheets can be trusted with, and errors that say what to do."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colours import HISTORY, PREPROCESSING, colour_index, colour_network
from PIL import Image
from sklearn.metrics import top_k_accuracy_score

from vitrine_export import plots
from vitrine_export.datasets.index import DatasetIndex, Picture
from vitrine_export.errors import RunError
from vitrine_export.evaluation import evaluate, evaluate_again, probabilities_of
from vitrine_export.evaluation.examples import Example, sample, worst_mistakes
from vitrine_export.evaluation.figures import temperature_of, top_accuracy, wilson_interval
from vitrine_export.evaluation.predictions import Predictions, predict
from vitrine_export.preprocessing import Preprocessing
from vitrine_export.runs import Run

LABELS = ("ash", "birch", "cedar")


def evaluated(index: DatasetIndex, folder: Path, **options):
    return evaluate(colour_network(len(index.labels)), index, Preprocessing(PREPROCESSING), folder, **options)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> DatasetIndex:
    """Twelve test pictures, of which the first two, ashes, look like birches."""
    return colour_index(tmp_path_factory.mktemp("pictures"), LABELS, mistakes=2)


@pytest.fixture(scope="module")
def result(pictures: DatasetIndex, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("result")
    metrics = evaluated(pictures, folder, history=HISTORY, augmentation="flip|rotate(10)", name="trees")
    return metrics, folder


def test_figures_counted_by_hand(result) -> None:
    metrics, _ = result
    assert json.loads(json.dumps(metrics)) == metrics
    assert (metrics["split"], metrics["pictures"]) == ("test", 12)
    assert metrics["accuracy"] == pytest.approx(10 / 12)
    assert metrics["confusion_matrix"] == [[2, 2, 0], [0, 4, 0], [0, 0, 4]]
    assert metrics["per_class"]["ash"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "pictures": 4}
    assert metrics["per_class"]["birch"]["precision"] == pytest.approx(4 / 6)
    assert metrics["macro_f1"] == pytest.approx((2 / 3 + 0.8 + 1) / 3)
    assert "top_5_accuracy" not in metrics, "three classes have no five best"
    assert sum(group["pictures"] for group in metrics["reliability"]) == 12
    low, high = metrics["accuracy_interval"]
    assert low < metrics["accuracy"] < high


def test_everything_there_is_to_look_at(result) -> None:
    _, folder = result
    assert {path.name for path in (folder / "plots").iterdir()} == set(plots.NAMES)
    for name in plots.NAMES:
        with Image.open(folder / "plots" / name) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10, "not an empty sheet"
    tables = {"predictions.csv", "mistakes.csv", "per_class.csv", "confusion_matrix.csv"}
    assert {path.name for path in folder.iterdir()} == {"plots", "report.html", *tables}


def test_tables_hold_every_answer(result, pictures: DatasetIndex) -> None:
    _, folder = result
    answers = rows(folder / "predictions.csv")
    assert [answer["path"] for answer in answers] == [picture.path for picture in pictures.split("test")]
    first = answers[0]
    assert (first["truth"], first["predicted"], first["correct"]) == ("ash", "birch", "no")
    assert float(first["score"]) > 0.9 > 0.1 > float(first["truth_score"])
    scores = [float(first[name]) for name in ("score", "score_2", "score_3")]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)
    assert [row["truth"] for row in rows(folder / "mistakes.csv")] == ["ash", "ash"]
    assert [row["class"] for row in rows(folder / "per_class.csv")] == list(LABELS)
    assert rows(folder / "confusion_matrix.csv")[0] == {"truth": "ash", "ash": "2", "birch": "2", "cedar": "0"}


def test_the_most_confident_mistake_comes_first(tmp_path: Path) -> None:
    index = colour_index(tmp_path / "pictures", LABELS, mistakes=3)
    # Ashes that look like birches: the paler, the less sure.
    for place, strength in enumerate((0.7, 1.0, 0.85)):
        file = index.file(index.split("test")[place])
        pixels = np.asarray(Image.open(file)) * strength + 128 * (1 - strength)
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    predictions = predict(colour_network(3), index, "test", Preprocessing(PREPROCESSING))
    found = [predictions.pictures[position].path for position in worst_mistakes(predictions)]
    assert found == ["test/0_1.png", "test/0_2.png", "test/0_0.png"]


def test_labels_of_all_kinds_are_harmless(tmp_path: Path) -> None:
    labels = ("=1+1", "@sum", "$x^{$", "树木 \N{DECIDUOUS TREE}", 'a,b"c', "<script>alert(1)</script>")
    metrics = evaluated(colour_index(tmp_path / "pictures", labels, mistakes=2), tmp_path, history=HISTORY)
    assert set(metrics["per_class"]) == set(labels)
    assert metrics["top_5_accuracy"] == 1.0
    named = [row["class"] for row in rows(tmp_path / "per_class.csv")]
    assert named == ["'=1+1", "'@sum", *labels[2:]]
    assert rows(tmp_path / "predictions.csv")[0]["truth"] == "'=1+1"
    assert "<script>alert" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_without_a_validation_split_there_is_no_temperature(tmp_path: Path) -> None:
    index = colour_index(tmp_path / "pictures", LABELS, {"validation": 0})
    metrics = evaluated(index, tmp_path, history={"loss": [1.0], "accuracy": [0.5]})
    assert "temperature" not in metrics
    assert metrics["accuracy"] == 1.0
    assert not (tmp_path / "plots" / "mistakes.png").exists()
    assert rows(tmp_path / "mistakes.csv") == []


def test_the_temperature_is_fitted_on_validation_and_measured_on_test(tmp_path: Path) -> None:
    index = colour_index(tmp_path / "pictures", LABELS, {"validation": 20, "test": 20}, mistakes=12)
    # As many wrong labels among the validation pictures as among those of the test: one in five.
    wrong = {picture.path for picture in index.split("validation")[:12]}
    index = replace(
        index,
        pictures=tuple(
            replace(picture, label="birch") if picture.path in wrong else picture for picture in index.pictures
        ),
    )
    network, preprocessing = colour_network(3), Preprocessing(PREPROCESSING)
    validation, test = (predict(network, index, split, preprocessing) for split in ("validation", "test"))
    temperature = temperature_of(validation, test)
    assert (temperature["fitted_on"], temperature["pictures"]) == ("validation", 60)
    assert temperature["value"] > 2, "the network is far too sure of itself"
    assert temperature["ece_after"] < 0.15 < temperature["ece_before"]
    assert temperature["nll_after"] < temperature["nll_before"]
    plain, scaled = (
        probabilities_of(network, index, index.split("test"), preprocessing, temperature=value)
        for value in (1.0, temperature["value"])
    )
    assert (plain.argmax(axis=1) == scaled.argmax(axis=1)).all()
    assert scaled.max() < plain.max()


@pytest.mark.parametrize("split", ["test", "validation", "train"])
def test_a_picture_that_is_gone_is_named(tmp_path: Path, split: str) -> None:
    index = colour_index(tmp_path / "pictures", LABELS, {"train": 1, "validation": 1, "test": 1})
    gone = index.file(index.split(split)[0])
    gone.unlink()
    with pytest.raises(RunError, match=rf"{split}/{gone.name}"):
        evaluated(index, tmp_path, augmentation="flip")


def test_no_pictures_to_test_on(tmp_path: Path) -> None:
    index = colour_index(tmp_path / "pictures", LABELS, {"test": 0})
    with pytest.raises(RunError, match="the test split is empty"):
        evaluated(index, tmp_path)


def test_pictures_of_every_kind_can_be_shown(tmp_path: Path, encode) -> None:
    index = colour_index(tmp_path / "pictures", LABELS)
    kinds = [("L", "JPEG"), ("CMYK", "JPEG"), ("I;16", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("RGB", "BMP")]
    test = []
    for picture, (mode, format) in zip(index.split("test"), kinds, strict=False):
        test.append(replace(picture, path=f"test/{len(test)}.{format.lower()}"))
        index.file(test[-1]).write_bytes(encode(mode, format))
    assert evaluated(replace(index, pictures=(*index.split("train"), *test)), tmp_path)["pictures"] == len(kinds)


def test_evaluated_again_gives_the_same_and_leaves_nothing_old(digits_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(digits_run.folder, tmp_path / "run")))
    # From a time when the recipe had an augmentation; and another's file.
    for name in ("augmented.png", "other.png"):
        (run.plots / name).write_bytes(b"old")
    (run.folder / "report.html").unlink()
    (run.folder / "metrics.json").unlink()
    metrics = evaluate_again(run)
    assert metrics == run.metrics() == digits_run.metrics()
    assert metrics["top_5_accuracy"] > metrics["accuracy"] > 0.8
    assert not (run.plots / "augmented.png").exists()
    assert (run.plots / "other.png").read_bytes() == b"old"
    first, again = ((folder / "report.html").read_bytes() for folder in (digits_run.folder, run.folder))
    assert first == again
    assert [path.name for path in run.folder.iterdir() if path.name.startswith(".")] == []


def test_a_damaged_history_is_named_and_nothing_is_changed(digits_run: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(digits_run.folder, tmp_path / "run")))
    (run.folder / "history.json").write_text('{"loss": [')
    before = {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"history\.json: cannot be read: .*; train again"):
        evaluate_again(run)
    assert {path: path.read_bytes() for path in run.folder.rglob("*") if path.is_file()} == before


def test_the_model_card_links_every_file_beside_it(blessed_candidate: Path) -> None:
    folder = blessed_candidate / "assets.extra"
    links = re.findall(r"\]\((.+?)\)", (folder / "MODEL_CARD.md").read_text(encoding="utf-8"))
    # The last one is for servers alone.
    unlinked = {"MODEL_CARD.md", "tf_serving_warmup_requests"}
    assert sorted(links) == sorted({path.name for path in folder.iterdir() if path.is_file()} - unlinked)


# Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
@pytest.mark.parametrize(
    ("right", "pictures", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(right: int, pictures: int, low: float, high: float) -> None:
    assert wilson_interval(right, pictures) == pytest.approx((low, high), abs=5e-5)


def test_top_5_accuracy_is_the_usual_one() -> None:
    random = np.random.default_rng(3)
    labels = tuple(map(str, range(12)))
    truth = random.integers(0, 12, 500)
    files = [Picture(f"{number}", labels[true], "", "test") for number, true in enumerate(truth)]
    predictions = Predictions(labels, files, random.normal(0, 1, (500, 12)).astype(np.float32))
    expected = top_k_accuracy_score(truth, predictions.probabilities, k=5, labels=range(12))
    assert top_accuracy(predictions, 5) == pytest.approx(expected)
    undecided = Predictions(labels, files, np.zeros((500, 12), np.float32))
    assert top_accuracy(undecided, 5) == pytest.approx((truth < 5).mean()), "equal scores are no knowledge"


def test_a_sample_takes_turns_between_the_classes(pictures: DatasetIndex) -> None:
    test = pictures.split("test")
    chosen = [test[position].label for position in sample(test, 6)]
    assert sorted(chosen[:3]) == sorted(chosen[3:]) == list(LABELS)
    assert len(set(sample(test, 100))) == len(test)


def test_answers_in_words() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    assert Example("", "dog", [("dog", 0.95), ("cat", 0.05)], pixels).words == ["95 % dog", "5 % cat"]
    assert Example("", "dog", [("dog", 0.999), ("cat", 0.001)], pixels).words == ["100 % dog"]


@pytest.mark.parametrize(
    ("losses", "best"), [([3, 2, 1, 2], 3), ([1], 1), ([float("nan"), 2.0, 1.5], 3), ([float("nan")], None), ([], None)]
)
def test_the_epoch_before_overfitting(losses: list[float], best: int | None) -> None:
    assert plots.best_epoch({"val_loss": losses}) == best
