"""The page's own manners: choices, late answers, hostile text, the keyboard, colours, small screens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import Browser, Page, contrast
from processes import wait_until
from ui_pages import TROUBLE, cards, open_page, pick
from ui_site import Site
from ui_standin import Standin, prediction, versions

HOSTILE = ('<img src=x onerror="window.ran = 1">', "<script>window.ran = 2</script>", "{{ 7 * 7 }}", "樹 & b")
FOCUSED = "document.activeElement.id"


@pytest.fixture
def page(browser: Browser, site: Site, standin: Standin) -> Iterator[Page]:
    page = open_page(browser, site)
    yield page
    page.close()


@pytest.fixture
def picture(tmp_path: Path, encode: Callable[..., bytes]) -> Path:
    path = tmp_path / "picture.png"
    path.write_bytes(encode())
    return path


def test_labels_and_file_names_are_text_and_nothing_else(page: Page, standin: Standin, picture: Path) -> None:
    standin.answers[":predict"] = prediction(*HOSTILE)
    named = picture.rename(picture.with_name('<img src=x onerror="window.ran = 3">.png'))
    page.choose_files("#files", named)
    (card,) = cards(page)
    assert card["labels"] == list(HOSTILE)
    assert named.name in card["file"]
    assert page.evaluate("document.querySelectorAll('.card img').length") == 1
    assert page.evaluate("window.ran") is None
    assert page.problems == []


def test_the_choice_is_kept_in_the_address(browser: Browser, site: Site, standin: Standin, picture: Path) -> None:
    page = open_page(browser, site, "?model=cats&version=1")
    assert page.evaluate("document.getElementById('version').value") == "1"
    page.choose_files("#files", picture)
    cards(page)
    assert ("POST", "/v1/models/cats/versions/1:predict") in standin.asked
    pick(page, "version", "label")
    pick(page, "label", "stable release")
    assert page.evaluate("location.search") == "?model=cats&label=stable+release"
    wait_until(lambda: ("POST", "/v1/models/cats/labels/stable%20release:predict") in standin.asked, "by label")
    page.close()
    again = open_page(browser, site, "?model=cats&label=stable+release")
    assert again.evaluate("document.getElementById('label').value") == "stable release"
    again.close()


def test_a_model_is_named_by_hand_where_there_is_no_list(
    browser: Browser, site: Site, standin: Standin, picture: Path
) -> None:
    (site.config / "models.json").unlink()
    page = open_page(browser, site)
    page.choose_files("#files", picture)
    page.wait_for("document.getElementById('notice').textContent.startsWith('Name the model first')")
    assert standin.asked == []
    pick(page, "name", "cats")
    page.wait_for("document.querySelectorAll('#states li').length === 2")
    page.choose_files("#files", picture)
    assert cards(page)[0]["labels"] == ["cat", "dog"]
    assert page.problems == []
    page.close()


def test_a_late_answer_does_not_replace_a_newer_one(page: Page, standin: Standin, picture: Path) -> None:
    standin.answers = {"versions/1:predict": prediction("old"), "2:predict": prediction("new"), **standin.answers}
    standin.held["versions/1:predict"] = late = threading.Event()
    pick(page, "version", "1")
    page.choose_files("#files", picture)
    wait_until(lambda: ("POST", "/v1/models/cats/versions/1:predict") in standin.asked, "version 1 is asked")
    pick(page, "version", "2")
    assert cards(page)[0]["labels"] == ["new"]
    late.set()
    # Another question and its answer come after the late one.
    standin.answers["/models/cats"] = versions(1, 2, 3)
    page.wait_for("document.querySelectorAll('#states li').length === 3")
    assert cards(page)[0]["labels"] == ["new"]


@pytest.mark.parametrize(
    "answer",
    [
        {"predictions": [[0.1, 0.9]]},
        {"predictions": []},
        {"predictions": [{"labels": ["a"], "scores": [float("nan")]}]},
    ],
)
def test_answers_of_other_models_are_explained(page: Page, standin: Standin, picture: Path, answer: object) -> None:
    standin.answers[":predict"] = answer
    page.choose_files("#files", picture)
    trouble = cards(page)[0]["trouble"]
    assert "no labels and scores: is it an image classifier?" in trouble or "not valid JSON" in trouble


def test_many_labels_are_shown_when_asked_for(page: Page, standin: Standin, picture: Path) -> None:
    standin.answers[":predict"] = prediction(*(f"label {number}" for number in range(12)))
    page.choose_files("#files", picture)
    assert len(cards(page)[0]["labels"]) == 5
    page.evaluate("[...document.querySelectorAll('.answer button')].find(b => b.innerText.includes('12')).click()")
    assert len(cards(page)[0]["labels"]) == 12


def test_all_is_done_with_the_keyboard_alone(page: Page, standin: Standin, picture: Path) -> None:
    page.call("Page.setInterceptFileChooserDialog", {"enabled": True})
    for expected in ("model", "version"):
        page.press("Tab")
        assert page.evaluate(FOCUSED) == expected
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("ArrowDown")
    page.wait_for("location.search === '?model=cats&version=2'")
    page.press("Tab")
    assert page.evaluate(FOCUSED) == "files"
    ring = "getComputedStyle(document.querySelector('label[for=files]')).outlineStyle"
    assert page.evaluate(ring) == "solid"
    page.press("Enter")
    wait_until(lambda: page.evaluate("true") and page.files_asked_for, "the dialog for files opens")
    page.choose_files("#files", picture)
    cards(page)
    for expected in ("Remove all", "Ask again: picture.png", "Remove: picture.png"):
        page.press("Tab")
        assert page.evaluate("document.activeElement.ariaLabel ?? document.activeElement.innerText") == expected
    page.press("Enter")
    assert page.evaluate("document.querySelectorAll('.card').length") == 0
    assert page.evaluate(FOCUSED) == "files"


def test_those_who_do_not_see_it_are_told(page: Page, standin: Standin, picture: Path) -> None:
    page.choose_files("#files", picture)
    cards(page)
    said = "document.querySelector('#said[role=status]').textContent.replace('\\u00a0', ' ')"
    assert page.evaluate(said) == "picture.png: cat, 50.0 %"
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value")) for node in tree if "role" in node}
    for expected in (
        ("combobox", "Model"),
        ("combobox", "Version"),
        ("button", "Choose pictures"),
        ("meter", "cat"),
        ("image", "picture.png"),
        ("heading", "Answers"),
    ):
        assert expected in named
    standin.answers.clear()
    page.wait_for(f"{TROUBLE} && document.querySelector('#trouble[role=alert]').checkVisibility()")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_has_enough_contrast(
    browser: Browser, site: Site, standin: Standin, picture: Path, tmp_path: Path, dark: bool
) -> None:
    status = versions(1, 2)["model_version_status"]
    failed = {"error_code": "INTERNAL", "error_message": "it is broken"}
    status.append({"version": "3", "state": "END", "status": failed})
    standin.answers["/models/cats"] = {"model_version_status": status}
    page = open_page(browser, site, "?model=cats&version=3", dark=dark)
    page.choose_files("#files", picture)
    cards(page)
    standin.answers[":predict"] = {}
    page.choose_files("#files", picture)
    cards(page, 2)
    pairs = page.evaluate(
        """[...document.querySelectorAll('body *')].filter(element => element.checkVisibility() &&
            [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())).map(element => {
            let behind = element;
            const back = () => getComputedStyle(behind).backgroundColor;
            while (back() === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
            const parts = colour => colour.match(/[\\d.]+/g).map(Number);
            return [element.textContent.trim(), parts(getComputedStyle(element).color), parts(back())];
        })"""
    )
    texts = {text for text, *_ in pairs}
    assert {"failed", "it is broken", "available", "cat", "Choose pictures", "Remove all"} <= texts
    # WCAG 2.2, 1.4.3: 4.5 to 1.
    assert [(text, round(found, 2)) for text, *both in pairs if (found := contrast(*both)) < 4.5] == []
    page.close()


def test_a_small_screen_shows_it_without_scrolling_sideways(
    browser: Browser, site: Site, standin: Standin, picture: Path
) -> None:
    standin.answers[":predict"] = prediction("a_label_" * 20, "b")
    page = open_page(browser, site, "?model=cats&label=x", width=320, height=640)
    page.choose_files("#files", picture.rename(picture.with_name("name_" * 40 + ".png")))
    cards(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    widest = "Math.max(...[...document.querySelectorAll('body *')].map(e => e.getBoundingClientRect().right))"
    assert page.evaluate(widest) <= 320
    page.close()


def test_nothing_moves_for_those_who_want_it_still(page: Page, standin: Standin, picture: Path) -> None:
    standin.held[":predict"] = held = threading.Event()
    page.choose_files("#files", picture)
    turning = "getComputedStyle(document.querySelector('.waiting'), '::before').animationName"
    assert page.wait_for(f"document.querySelector('.waiting') && {turning}") == "turn"
    still = {"name": "prefers-reduced-motion", "value": "reduce"}
    page.call("Emulation.setEmulatedMedia", {"features": [still]})
    assert page.evaluate(turning) == "none"
    held.set()
    cards(page)
