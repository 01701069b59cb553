"""The page before a real model server: from a picture to its label, and through the server's life."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from browser import Browser, Page
from processes import free_port, wait_until
from ui_pages import STATES, TROUBLE, cards, open_page, pick
from ui_site import Site, running_site

from vitrine_client import RestClient

CONFIG = """model_config_list {{
  config {{
    name: "digits" base_path: "{folder}/digits" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
  }}
  config {{ name: "broken" base_path: "{folder}/broken" model_platform: "tensorflow" }}
}}"""


class Server:
    def __init__(self, models: Path) -> None:
        self.models = models
        self.port = free_port()
        self.config = models / "models.config"
        self.config.write_text(CONFIG.format(folder=models))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = (f"--port={free_port()}", f"--rest_api_port={self.port}", f"--model_config_file={self.config}")
        command = [sys.executable, "-m", "vitrine_serving.embedded.main", *flags, "--max_num_load_retries=0"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        wait_until(self.is_up, "the server has version 1")

    def is_up(self) -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return "AVAILABLE" in requests.get(f"http://127.0.0.1:{self.port}/v1/models/digits", timeout=60).text
        return False

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, digits_store: Path) -> Iterator[Server]:
    """The embedded server with digits 1, and with a model whose version cannot be loaded."""
    models = tmp_path_factory.mktemp("served")
    shutil.copytree(digits_store / "digits", models / "digits")
    (models / "broken" / "1").mkdir(parents=True)
    (models / "broken" / "1" / "saved_model.pb").write_text("no model")
    server = Server(models)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def digits_site(server: Server) -> Iterator[Site]:
    with running_site(f"127.0.0.1:{server.port}") as site:
        (site.config / "models.json").write_text('{"models": ["digits", "broken"]}')
        yield site


@pytest.fixture
def page(browser: Browser, digits_site: Site) -> Iterator[Page]:
    page = open_page(browser, digits_site)
    yield page
    page.close()


@pytest.fixture(scope="module")
def seven(server: Server, digits_folder: Path) -> Path:
    """A seven that the model takes for one."""
    with RestClient(f"127.0.0.1:{server.port}", model="digits") as client:
        for path in sorted((digits_folder / "7").iterdir()):
            if client.classify([path])[0].label == "7":
                return path
    pytest.fail("the model knows no seven")


def test_a_chosen_picture_gets_its_label_and_bars(page: Page, digits_site: Site, seven: Path) -> None:
    page.choose_files("#files", seven)
    (card,) = cards(page)
    assert card["labels"][0] == "7"
    assert len(card["labels"]) == len(card["scores"]) == 5
    assert card["scores"][0].endswith(" %")
    assert seven.name in card["file"]
    assert "ms by digits, newest version (1)" in card["about"]
    shown = page.evaluate(
        "[...document.querySelectorAll('[role=meter]')].map(bar => [bar.getAttribute('aria-label'),"
        " Number(bar.getAttribute('aria-valuenow')), bar.firstChild.offsetWidth / bar.offsetWidth])"
    )
    assert [label for label, _, _ in shown] == card["labels"]
    for _, score, width in shown:
        assert width == pytest.approx(score, abs=0.02)
    assert page.problems == []
    assert {url.split("/")[2] for url in page.requests if not url.startswith("blob:")} == {digits_site.url[7:]}


def test_dropped_pictures_are_asked_about_each(page: Page, seven: Path, digits_folder: Path) -> None:
    others = sorted((digits_folder / "0").iterdir())[:4]
    page.drop_files(20, 600, seven, *others)
    found = cards(page, 5)
    assert found[0]["labels"][0] == "7"
    assert [card["file"].split(",")[0] for card in found] == [path.name for path in (seven, *others)]


def test_a_pasted_picture_is_asked_about(page: Page, seven: Path) -> None:
    page.evaluate(
        f"""(data => {{
            data.items.add(new File([new Uint8Array({list(seven.read_bytes())})], 'image.png', {{type: 'image/png'}}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {{clipboardData: data, bubbles: true}}));
        }})(new DataTransfer())"""
    )
    assert cards(page)[0]["labels"][0] == "7"


def test_what_is_wrong_with_a_picture_is_said_by_the_server(page: Page, tmp_path: Path, seven: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no picture")
    page.choose_files("#files", broken, seven)
    bad, good = cards(page, 2)
    assert "Invalid JPEG data" in bad["trouble"]
    assert "[[" not in bad["trouble"]
    assert good["labels"][0] == "7"


def test_a_version_that_has_failed_is_shown_with_the_reason(page: Page) -> None:
    pick(page, "model", "broken")
    page.wait_for("document.querySelectorAll('[data-state=failed]').length")
    assert page.evaluate(STATES) == {"Version 1": "failed"}
    assert "saved_model.pb" in page.evaluate("document.querySelector('#states .why').textContent")
    assert page.evaluate(TROUBLE) == "No version can answer."


def test_a_model_that_is_not_there_is_said(browser: Browser, digits_site: Site) -> None:
    page = open_page(browser, digits_site, "?model=lions")
    assert page.evaluate(TROUBLE).startswith("The server has no model called lions.")
    pick(page, "model", "digits")
    page.wait_for(f"!{TROUBLE}")
    page.close()


def test_versions_come_and_go_while_the_page_is_open(page: Page, server: Server, seven: Path) -> None:
    assert page.evaluate(STATES) == {"Version 1": "available"}
    staged = shutil.copytree(server.models / "digits" / "1", server.models / "staged")
    staged.rename(server.models / "digits" / "2")
    page.wait_for(f"{STATES}['Version 2'] === 'available'")
    page.choose_files("#files", seven)
    assert "newest version (2)" in cards(page)[0]["about"]
    pick(page, "version", "2")
    assert page.evaluate("location.search") == "?model=digits&version=2"
    assert "by digits, version 2" in cards(page)[0]["about"]
    (server.models / "digits" / "2").rename(server.models / "gone")
    page.wait_for(f"{TROUBLE}.startsWith('Version 2 is ')")
    pick(page, "version", "1")
    assert "by digits, version 1" in cards(page)[0]["about"]
    page.wait_for(f"!{TROUBLE}")


def test_a_server_that_stops_is_said_and_asked_again_when_it_is_back(page: Page, server: Server, seven: Path) -> None:
    server.stop()
    page.choose_files("#files", seven)
    assert cards(page)[0]["trouble"] == "The model server cannot be reached."
    page.wait_for(f"{TROUBLE} === 'The model server cannot be reached.'")
    server.start()
    page.wait_for(f"!{TROUBLE}")
    page.wait_for("document.querySelectorAll('.label').length", "the picture is asked about again")
    assert cards(page)[0]["labels"][0] == "7"
