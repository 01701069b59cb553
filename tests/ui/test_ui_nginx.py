"""What the page's web server lets through to the model server, and what it answers itself."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from processes import free_port, wait_until
from ui_site import UI, Site, running_site, start_command
from ui_standin import Standin, running_standin, versions

STATUS = "/v1/models/cats"


def ask(site: Site, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    """The status and body for exactly that path, which other clients would tidy up."""
    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=60)
    connection.request(method, path, body or None)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", STATUS),
        ("GET", f"{STATUS}/versions/1"),
        ("GET", f"{STATUS}/labels/stable"),
        ("GET", f"{STATUS}/metadata"),
        ("GET", f"{STATUS}/versions/2/metadata"),
        ("POST", f"{STATUS}:predict"),
        ("POST", f"{STATUS}/versions/1:predict"),
        ("POST", f"{STATUS}/labels/stable:classify"),
        ("POST", "/v1/models/two%20words%E2%98%83:predict"),
    ],
)
def test_the_api_of_models_is_passed_on_as_it_was_sent(site: Site, standin: Standin, method: str, path: str) -> None:
    ask(site, method, path, b'{"instances": []}' if method == "POST" else b"")
    assert standin.asked == [(method, path)]
    assert standin.bodies == [b'{"instances": []}' if method == "POST" else b""]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/monitoring/prometheus/metrics",
        "/v1/models/../../monitoring/prometheus/metrics",
        "/v1/models/..%2f..%2fmonitoring/prometheus/metrics",
        "/v1/models/%2e%2e/%2e%2e/monitoring/prometheus/metrics",
        "/v1/models/%2E%2E%2F%2e%2e%2Fmonitoring%2Fprometheus%2Fmetrics",
        "/v1/models/..%252f..%252fmonitoring%252fprometheus/metrics",
        "/v1/models/..",
        "/v1/models/.%2e:predict",
        "/v1/models/..:predict",
        "/v1//models/cats/../../../monitoring/prometheus/metrics",
        "//monitoring/prometheus/metrics",
        "/v1/models//monitoring/prometheus/metrics",
        "/v1/models/cats/..;/monitoring/prometheus/metrics",
        "/v1/models/cats%0d%0aHost:x",
        "/v1/models/cats%00",
        "/v1/models/cats?x=/monitoring/prometheus/metrics",
        "/v1/models/cats#/../x",
        "/x/../v1/models/cats",
        "/v1/models",
        "/v1/models/",
        "/v1/config",
        "/v1/models/cats:reload",
        "/v1/models/cats:regress",
        "/v1/models/cats/versions/x",
        "/readyz",
        "http://elsewhere/monitoring/prometheus/metrics",
    ],
)
def test_nothing_else_of_the_server_is_reached(site: Site, standin: Standin, method: str, path: str) -> None:
    status, text = ask(site, method, path)
    assert status in (400, 404, 405)
    assert '"error"' in text
    assert standin.asked == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", STATUS),
        ("GET", f"{STATUS}:predict"),
        ("DELETE", STATUS),
        ("PUT", f"{STATUS}:predict"),
        ("HEAD", STATUS),
        ("POST", "/"),
        ("DELETE", "/index.html"),
    ],
)
def test_other_methods_are_refused(site: Site, standin: Standin, method: str, path: str) -> None:
    assert ask(site, method, path)[0] == 405
    assert standin.asked == []


def test_the_server_is_not_told_who_asks(site: Site, standin: Standin) -> None:
    headers = {"Cookie": "a=b", "Authorization": "Bearer c", "X-Other": "d", "Content-Type": "application/json"}
    requests.post(f"{site.url}{STATUS}:predict", data=b"{}", headers=headers, timeout=60)
    assert set(standin.headers[0]) == {"host", "connection", "content-length", "content-type"}


def test_a_body_over_the_limit_is_refused_in_json(site: Site, standin: Standin) -> None:
    # By its length alone: nginx need not wait for the rest.
    status, text = ask(site, "POST", f"{STATUS}:predict", b" " * (32 * 1024 * 1024 + 1))
    assert status == 413
    assert "larger than 32 MB" in text
    assert standin.asked == []
    assert ask(site, "POST", f"{STATUS}:predict", b" " * 30_000_000)[0] == 200
    assert len(standin.bodies[0]) == 30_000_000


@pytest.mark.parametrize("path", ["/", "/main.js", "/nothing", STATUS, f"{STATUS}:predict", "/models.json", "/healthz"])
def test_every_answer_has_the_headers_of_safety(site: Site, standin: Standin, path: str) -> None:
    headers = requests.get(site.url + path, timeout=60).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Server"] == "nginx"
    assert headers["Cache-Control"] == ("no-store" if path == STATUS else "no-cache")


def test_files_are_compressed_and_asked_for_once(site: Site) -> None:
    first = requests.get(f"{site.url}/style.css", timeout=60)
    assert first.headers["Content-Encoding"] == "gzip"
    assert first.headers["Content-Type"] == "text/css; charset=utf-8"
    again = requests.get(f"{site.url}/style.css", headers={"If-None-Match": first.headers["ETag"]}, timeout=60)
    assert again.status_code == 304
    assert requests.get(f"{site.url}/main.js", timeout=60).headers["Content-Type"].startswith("text/javascript")


def test_the_list_of_models_is_the_file_or_empty(site: Site, standin: Standin) -> None:
    assert requests.get(f"{site.url}/models.json", timeout=60).json() == {"models": ["cats"]}
    (site.config / "models.json").unlink()
    (site.config / "pinned").write_text("cats 1\n")
    assert requests.get(f"{site.url}/models.json", timeout=60).json() == {"models": []}
    assert requests.get(f"{site.url}/pinned", timeout=60).status_code == 404


def test_a_server_that_is_away_is_said_in_json_and_the_page_is_healthy() -> None:
    with running_site(f"127.0.0.1:{free_port()}") as site:
        assert ask(site, "GET", STATUS) == (502, '{"error": "The model server cannot be reached."}\n')
        assert ask(site, "GET", "/healthz") == (200, "ok\n")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_names_of_the_hosts_file_and_addresses_are_taken(host: str, standin: Standin) -> None:
    with running_site(f"{host}:{standin.target.rpartition(':')[2]}") as site:
        # The stand-in listens on IPv4 alone: by IPv6, nginx starts and says that it is away.
        assert ask(site, "GET", STATUS)[0] == (502 if host == "[::1]" else 200)


def test_a_server_that_comes_back_at_another_address_is_found() -> None:
    with _dns() as names, running_standin("127.0.0.1") as first:
        port = int(first.target.rpartition(":")[2])
        first.answers = {"/models/cats": versions(1)}
        names["vitrine.test"] = "127.0.0.1"
        with (
            running_standin("127.0.0.2", port) as second,
            running_site(f"vitrine.test:{port}", RESOLVER=names["resolver"]) as site,
            # One connection stays with one of nginx's processes, each of which keeps names of its own.
            requests.Session() as session,
        ):
            status = f"{site.url}{STATUS}"
            second.answers = {"/models/cats": versions(2)}
            assert '"1"' in session.get(status, timeout=60).text
            names["vitrine.test"] = "127.0.0.2"
            wait_until(lambda: '"2"' in session.get(status, timeout=60).text, "the new address is asked")


@contextmanager
def _dns() -> Iterator[dict[str, str]]:
    """A DNS server at ["resolver"] that knows IPv4 addresses by name, and lets them be kept for an hour."""
    names: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        names["resolver"] = f"127.0.0.1:{server.getsockname()[1]}"

        def serve() -> None:
            while True:
                question, client = server.recvfrom(512)
                if not question:
                    return
                end = question.index(b"\0", 12) + 5
                name = re.sub(rb"[\x01-\x1f]", b".", question[13 : end - 5]).decode()
                address = names.get(name) if question[end - 4 : end - 2] == b"\0\1" else None
                record = b"\xc0\x0c\0\1\0\1\0\0\x0e\x10\0\4" + socket.inet_aton(address) if address else b""
                counts = b"\0\1" + (b"\0\1" if record else b"\0\0") + b"\0\0\0\0"
                server.sendto(question[:2] + b"\x81\x80" + counts + question[12:end] + record, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield names
        finally:
            server.sendto(b"", server.getsockname())
            thread.join()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SERVING", "http://vitrine:8501"),
        ("SERVING", "vitrine"),
        ("SERVING", "vitrine:0"),
        ("SERVING", "vitrine:99999"),
        ("SERVING", "vit rine:8501"),
        ("SERVING", "vitrine:8501\nx:1"),
        ("SERVING", "a;b|c:8501"),
        ("SERVING", "[::1;]:8501"),
        ("LISTEN", "all"),
        ("LISTEN", "8080;"),
        ("SITE", "relative"),
        ("SITE", "/nowhere"),
        ("CONFIG_DIR", "/a;b"),
        ("RUN_DIR", "/proc/none"),
        ("RESOLVER", "dns;"),
    ],
)
def test_bad_settings_are_refused_by_name(name: str, value: str, tmp_path: Path) -> None:
    start_command()
    site, run = tmp_path / "site", tmp_path / "run"
    site.mkdir()
    (site / "index.html").touch()
    environment = {**os.environ, "SITE": str(site), "RUN_DIR": str(run), "LISTEN": "1", name: value}
    command = ["sh", str(UI / "nginx" / "start.sh")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"vitrine-ui: {name}='{value}'")
    assert "nginx:" not in ended.stderr
