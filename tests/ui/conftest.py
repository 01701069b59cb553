"""What the tests of the page share: its web server before a stand-in, and a browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Browser, chromium
from ui_site import Site, running_site
from ui_standin import Standin, prediction, running_standin, versions


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def _standin() -> Iterator[Standin]:
    with running_standin() as standin:
        yield standin


@pytest.fixture(scope="session")
def site(_standin: Standin) -> Iterator[Site]:
    """The page before the stand-in."""
    with running_site(_standin.target) as site:
        yield site


@pytest.fixture
def standin(_standin: Standin, site: Site) -> Iterator[Standin]:
    """The server behind `site`, with versions 1 and 2 of `cats`, as if nobody had asked it yet."""
    for kept in (_standin.asked, _standin.bodies, _standin.headers, _standin.held):
        kept.clear()
    _standin.answers = {":predict": prediction("cat", "dog"), "/models/cats": versions(1, 2)}
    (site.config / "models.json").write_text('{"models": ["cats"]}')
    yield _standin
    for event in _standin.held.values():
        event.set()
