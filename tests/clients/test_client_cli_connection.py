"""How the command reaches servers: options, environment, credentials, TLS."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from client_commands import ROSE, run
from client_processes import running
from client_standins import PICTURE, RestStandin


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Makes a certificate that vouches for itself, and its key: PEM files."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make certificates")

    def make(name: str) -> tuple[Path, Path]:
        pair = (tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-out", pair[0], "-keyout", pair[1], "-subj", f"/CN={name}", "-days", "2"),
                *("-addext", f"subjectAltName=DNS:{name}"),
            ],
            check=True,
            capture_output=True,
        )
        return pair

    return make


def test_the_environment_says_what_no_option_does(rest_standin: RestStandin):
    variables = {"VITRINE_REST": rest_standin.address, "VITRINE_MODEL": "roses"}
    assert run("status", **variables).returncode == 0
    assert run("status", "--model", "tulips", **variables).returncode == 0
    assert [path for _, path, _ in rest_standin.asked] == ["/v1/models/roses", "/v1/models/tulips"]
    elsewhere = {"VITRINE_REST": "nowhere.invalid:1", "VITRINE_GRPC": "nowhere.invalid:1"}
    assert run("status", "--rest", rest_standin.address, **elsewhere).returncode == 0
    done = run("status", **elsewhere)
    assert done.returncode == 2
    assert "VITRINE_GRPC and VITRINE_REST are both set" in done.stderr


def test_an_environment_without_values_is_none(closed_port: int, rest_standin: RestStandin):
    empty = {"VITRINE_GRPC": "", "VITRINE_MODEL": "", "VITRINE_TOKEN": ""}
    assert run("status", **empty, VITRINE_REST=rest_standin.address).returncode == 0
    assert [path for _, path, _ in rest_standin.asked] == ["/v1/models/digits"]
    assert "authorization" not in rest_standin.headers_asked[0]


def test_versions_are_asked_by_number_and_by_label(rest_standin: RestStandin):
    run("status", "--rest", rest_standin.address, "--version", 3)
    run("status", "--rest", rest_standin.address, "--label", "stable")
    assert [path for _, path, _ in rest_standin.asked] == [
        "/v1/models/digits/versions/3",
        # Which of them the label is for, the metadata tell.
        "/v1/models/digits/labels/stable/metadata",
    ]


def test_tokens_come_from_files_and_the_environment(rest_standin: RestStandin, tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("from-the-file\n")
    options = ["status", "--rest", rest_standin.address]
    run(*options, VITRINE_TOKEN="from-the-environment")  # noqa: S106
    run(*options, "--token-file", file, VITRINE_TOKEN="from-the-environment")  # noqa: S106
    assert [headers["authorization"] for headers in rest_standin.headers_asked] == [
        "Bearer from-the-environment",
        "Bearer from-the-file",
    ]
    file.write_text("two words of a secret\n")
    done = run(*options, "--token-file", file)
    assert done.returncode == 2
    assert "token" in done.stderr
    assert "secret" not in done.stderr


def test_headers_go_along(rest_standin: RestStandin):
    headers = ["--header", "x-tenant: roses", "--header", "X-Trace:a:b"]
    assert run("status", "--rest", rest_standin.address, *headers).returncode == 0
    [sent] = rest_standin.headers_asked
    assert (sent["x-tenant"], sent["x-trace"]) == ("roses", "a:b")


@pytest.mark.parametrize("repeated", [True, False])
def test_several_servers_take_turns(rest_standin: RestStandin, tmp_path: Path, repeated: bool):
    (tmp_path / "rose.png").write_bytes(PICTURE)
    with RestStandin() as other:
        rest_standin.body = other.body = ROSE
        addresses = [rest_standin.address, other.address]
        servers = [f"--rest={address}" for address in addresses] if repeated else ["--rest", ", ".join(addresses)]
        assert run("predict", *[tmp_path / "rose.png"] * 10, *servers).returncode == 0
        assert (len(rest_standin.asked), len(other.asked)) == (5, 5)


def test_servers_that_are_gone_are_gone_round(server, closed_port: int):
    gone, there = f"localhost:{closed_port}", server.grpc
    assert run("status", "--grpc", f"{gone},{there}", "--model", "shapes").returncode == 0
    rest = ["--rest", f"http://{gone}", "--rest", server.rest]
    assert run("status", *rest, "--model", "shapes").returncode == 0


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_tls_trusts_whom_it_is_told_to(transport: str, certificate: Callable[..., tuple[Path, Path]]):
    pem, key = certificate("models.test")
    with running(1, "--certificate", pem, "--key", key) as [server]:
        asked = ["status", f"--{transport}", getattr(server, transport), "--timeout", 20, "--retries", 0]
        trusted = run(*asked, "--tls-ca", pem, "--tls-server-name", "models.test")
        assert (trusted.returncode, trusted.stderr) == (0, "")
        assert "AVAILABLE" in trusted.stdout
        for options in (["--tls"], ["--tls-ca", pem], ["--tls-ca", pem, "--tls-server-name", "other.test"]):
            done = run(*asked, *options)
            assert (done.returncode, done.stdout) == (1, "")
            # gRPC may log the handshake before that.
            assert done.stderr.splitlines()[-1].startswith("vitrine-client: status of model 'digits'")


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_client_can_have_a_certificate_too(transport: str, certificate: Callable[..., tuple[Path, Path]]):
    (pem, key), (own, own_key) = certificate("models.test"), certificate("client.test")
    with running(1, "--certificate", pem, "--key", key, "--client-ca", own) as [server]:
        asked = ["status", f"--{transport}", getattr(server, transport), "--timeout", 20, "--retries", 0]
        trust = ["--tls-ca", pem, "--tls-server-name", "models.test"]
        assert run(*asked, *trust, "--tls-cert", own, "--tls-key", own_key).returncode == 0
        assert run(*asked, *trust).returncode == 1
