"""What people see on the page, read out of a browser."""

from __future__ import annotations

from typing import Any

from browser import Browser, Page
from ui_site import Site

_CARDS = """[...document.querySelectorAll('.card:not([aria-busy])')].map(card => ({
    file: card.querySelector('.file').textContent,
    labels: [...card.querySelectorAll('.label')].map(label => label.textContent),
    scores: [...card.querySelectorAll('.score')].map(score => score.textContent.replace('\\u00a0', ' ')),
    trouble: card.querySelector('.trouble')?.textContent ?? '',
    about: card.querySelector('.about').innerText,
}))"""
STATES = """Object.fromEntries([...document.querySelectorAll('#states li')].map(
    item => [item.children[0].textContent, item.children[1].textContent]))"""
TROUBLE = "document.getElementById('trouble').textContent"


def open_page(browser: Browser, site: Site, query: str = "", **options: Any) -> Page:
    """The page once it has heard from the server, or that it needs a model's name."""
    page = browser.open(f"{site.url}/{query}", **options)
    heard = "document.getElementById('heard').textContent"
    page.wait_for(f"{heard} && !{heard}.startsWith('Asking')", "the page hears from the server")
    return page


def cards(page: Page, count: int = 1) -> list[dict[str, Any]]:
    """The pictures with their answers, as soon as there are `count`."""
    return page.wait_for(f"(cards => cards.length === {count} && cards)({_CARDS})", f"{count} answers")


def pick(page: Page, field: str, value: str) -> None:
    page.evaluate(
        f"(field => {{ field.value = {value!r}; field.dispatchEvent(new Event('change', {{bubbles: true}})); }})"
        f"(document.getElementById({field!r}))"
    )
