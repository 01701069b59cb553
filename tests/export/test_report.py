"""The report in a real browser: all of it is there, it asks for nothing, and it can be read by everybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Browser, Page, chromium, contrast
from colours import HISTORY, PREPROCESSING, colour_index, colour_network

from vitrine_export import model_card
from vitrine_export.datasets.index import Skipped
from vitrine_export.evaluation import evaluate
from vitrine_export.preprocessing import Preprocessing

# The last ones try to leave their place in the page.
LABELS = ("cat", "dog", "<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "{{ 7 * 7 }}", "樹 & b")
SKIPPED = Skipped("a.txt", "no picture")
IMAGES = "[...document.images]"
FIRST_ROW = "document.querySelector('table.sortable tbody tr').cells[0].textContent"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By the number of classes: two without curves, six with everything, 133 with one picture of each per split."""
    made = {}
    for classes, mistakes, history, augmentation in ((2, 1, None, ""), (6, 5, HISTORY, "flip"), (133, 40, HISTORY, "")):
        folder = tmp_path_factory.mktemp("report")
        labels = LABELS[:classes] if classes <= 6 else [f"{number:03}.Some_long_breed" for number in range(classes)]
        counts = {"train": 1, "validation": 1, "test": 4 if classes <= 6 else 1}
        index = colour_index(folder / "pictures", labels, counts, mistakes, side=80)
        if classes == 6:
            index = replace(index, skipped=(SKIPPED,), left_out=(SKIPPED, SKIPPED), notes=("<b>like no other</b>",))
        preprocessing = Preprocessing(PREPROCESSING)
        network = colour_network(classes)
        evaluate(network, index, preprocessing, folder, history=history, augmentation=augmentation, name="colours")
        made[classes] = folder / "report.html"
    return made


def is_sound(page: Page) -> None:
    assert len(page.requests) == 1, page.requests
    assert page.problems == []
    assert page.evaluate(f"{IMAGES}.filter(image => !image.complete || !image.naturalWidth).length") == 0
    assert page.evaluate(f"{IMAGES}.filter(image => !image.alt).length") == 0
    assert page.evaluate("document.scripts.length") == 1


@pytest.mark.parametrize("classes", [2, 6, 133])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_picture_is_there_and_nothing_is_asked_for(
    browser: Browser, reports: dict[int, Path], classes: int, dark: bool
) -> None:
    page = browser.open(reports[classes], dark=dark)
    is_sound(page)
    assert page.evaluate("document.querySelectorAll('table.sortable tbody tr').length") == classes
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    links = page.evaluate("[...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
    assert "#mistakes" in links
    assert ("#training" in links) == (classes != 2)
    assert page.evaluate(f"{links}.every(link => document.querySelector(link).querySelector('h2'))")


def test_figures_follow_the_colours_of_the_page(browser: Browser, reports: dict[int, Path]) -> None:
    sources = "[...document.querySelectorAll('picture img')].map(image => image.currentSrc)"
    light, dark = (browser.open(reports[6], dark=dark).evaluate(sources) for dark in (False, True))
    assert len(light) == len(dark) == 4, "reliability, loss, accuracy, classes"
    assert not set(light) & set(dark)


def test_answers_and_mistakes_in_words(browser: Browser, reports: dict[int, Path]) -> None:
    page = browser.open(reports[2])
    text = page.evaluate("document.body.innerText").replace("\xa0", " ")
    assert "7 of 8 test pictures are answered right" in text
    assert re.search(r"\d+ % dog", text)
    (mistake,) = page.evaluate("[...document.querySelectorAll('#mistakes .card')].map(card => card.innerText)")
    assert mistake.startswith("✗ is cat")
    assert "test/0_0.png" in mistake


def test_training_and_data_in_words(browser: Browser, reports: dict[int, Path]) -> None:
    text = browser.open(reports[6]).evaluate("document.body.innerText")
    assert "lowest after epoch 2 of 4" in text
    assert "overfits" in text
    assert "Files that cannot be used: 1. Pictures left out" in text
    assert "wants fewer of a class: 2." in text
    assert "<b>like no other</b>" in text
    assert "Pictures left out" not in browser.open(reports[2]).evaluate("document.body.innerText")


def test_labels_are_text_and_nothing_else(browser: Browser, reports: dict[int, Path]) -> None:
    page = browser.open(reports[6])
    is_sound(page)
    named = page.evaluate("[...document.querySelectorAll('table.sortable tbody th')].map(cell => cell.textContent)")
    assert named == list(LABELS)
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))")
    assert page.evaluate("window.ran") is None, "the page's policy stops what the page does not bring"


def test_many_classes_are_a_small_file_with_the_most_frequent_mistakes(
    browser: Browser, reports: dict[int, Path]
) -> None:
    assert reports[133].stat().st_size < 3_000_000
    page = browser.open(reports[133])
    rows = page.evaluate("[...document.querySelectorAll('#confusion tbody tr')].map(row => row.innerText)")
    assert len(rows) == 15
    assert rows[0].split("\t")[:3] == ["000.Some_long_breed", "001.Some_long_breed", "1"]


def test_the_table_of_classes_is_sorted_by_a_click(browser: Browser, reports: dict[int, Path]) -> None:
    page = browser.open(reports[6])
    click = "document.querySelectorAll('table.sortable th[scope=col] button')[{}].click()"
    recall = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => Number(row.cells[2].dataset.value))"
    page.evaluate(click.format(2))
    assert (found := page.evaluate(recall)) == sorted(found, reverse=True)
    page.evaluate(click.format(2))
    assert (found := page.evaluate(recall)) == sorted(found)
    assert len(set(found)) > 1
    assert page.evaluate("document.querySelectorAll('[aria-sort=ascending]').length") == 1
    page.evaluate(click.format(0))
    assert page.evaluate(FIRST_ROW) == LABELS[3]


@pytest.mark.parametrize("classes", [2, 6, 133])
def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, reports: dict[int, Path], classes: int) -> None:
    page = browser.open(reports[classes], width=360, height=740)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_enough_contrast(browser: Browser, reports: dict[int, Path], dark: bool) -> None:
    page = browser.open(reports[6], dark=dark)
    pairs = page.evaluate(
        """[...document.querySelectorAll('p, dt, dd, li, th, td, caption, h1, h2, h3, a, .about')].map(element => {
            let behind = element;
            const back = () => getComputedStyle(behind).backgroundColor;
            while (back() === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            const plain = colour => {
                const canvas = new OffscreenCanvas(1, 1).getContext('2d');
                canvas.fillStyle = colour;
                canvas.fillRect(0, 0, 1, 1);
                return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
            };
            return [element.textContent, plain(getComputedStyle(element).color), plain(back())];
        })"""
    )
    assert len(pairs) > 50
    # WCAG 2.2, 1.4.3: 4.5 to 1.
    assert [(text, round(found, 2)) for text, *colours in pairs if (found := contrast(*colours)) < 4.5] == []


def test_the_model_card_shows_what_the_manifest_holds() -> None:
    per_class = {"cat": {"precision": 1.0, "recall": 0.5, "f1": 0.667, "pictures": 4}}
    old = {
        "model": "m",
        "description": "d",
        "created": "now",
        "git_commit": None,
        "libraries": {},
        "labels": ["cat"],
        "preprocessing": "decode",
        "signatures": {},
        "dataset": {"counts": {"test": 4}, "skipped": 0, "digest": "0"},
        "metrics": {"split": "test", "pictures": 4, "accuracy": 0.5, "loss": 1.0, "per_class": per_class},
        "blessing": None,
    }
    card = model_card.render(old)
    assert "Accuracy 0.5000, cross-entropy 1.0000 on the 4 pictures" in card
    assert "![curves](curves.png)" in card
    assert "calibration" not in card
    added = {"accuracy_interval": [0.15, 0.85], "top_5_accuracy": 0.9, "macro_f1": 0.4, "ece": 0.25}
    fitted = {"value": 1.5, "fitted_on": "validation", "ece_after": 0.125}
    new = {
        **old,
        "metrics": {**old["metrics"], **added, "temperature": fitted},
        "recipe": {"export": {"temperature_scaling": True}},
        "pictures": ["mistakes.png", "report.html", "per_class.csv", "history.json"],
    }
    card = model_card.render(new)
    for text in ("0.1500 to 0.8500", "top-5 accuracy 0.9000", "as trained: 0.2500", "temperature 1.5000", "is 0.1250"):
        assert text in card
    assert "answers with the temperature" in card
    for name in ("report.html", "mistakes.png", "per_class.csv", "history.json", "manifest.json"):
        assert f"]({name})" in card, name
    assert "![mistakes](mistakes.png)" in card
    assert "curves.png" not in card
