"""How the command reaches servers: options, environment, credentials, TLS."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Authority
from client_commands import ROSE, run
from client_processes import running
from client_standins import PICTURE, RestStandin


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


def test_an_environment_without_values_is_none(rest_standin: RestStandin):
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
def test_tls_trusts_whom_it_is_told_to(transport: str, tmp_path: Path):
    authority = Authority(tmp_path, "authority")
    ca, (pem, key) = authority.certificate, authority.sign("server", "DNS:models.test")
    with running(1, "--certificate", pem, "--key", key) as [server]:
        asked = ["status", f"--{transport}", getattr(server, transport), "--timeout", 20, "--retries", 0]
        trusted = run(*asked, "--tls-ca", ca, "--tls-server-name", "models.test")
        assert (trusted.returncode, trusted.stderr) == (0, "")
        assert "AVAILABLE" in trusted.stdout
        for options in (["--tls"], ["--tls-ca", ca], ["--tls-ca", ca, "--tls-server-name", "other.test"]):
            done = run(*asked, *options)
            assert (done.returncode, done.stdout) == (1, "")
            # gRPC may log the handshake before that.
            assert done.stderr.splitlines()[-1].startswith("vitrine-client: status of model 'digits'")


@pytest.mark.parametrize("transport", ["grpc", "rest"])
def test_a_client_can_have_a_certificate_too(transport: str, tmp_path: Path):
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    ca, (pem, key) = ours.certificate, ours.sign("server", "DNS:models.test")
    own, own_key = theirs.sign("client")
    with running(1, "--certificate", pem, "--key", key, "--client-ca", theirs.certificate) as [server]:
        asked = ["status", f"--{transport}", getattr(server, transport), "--timeout", 20, "--retries", 0]
        trust = ["--tls-ca", ca, "--tls-server-name", "models.test"]
        assert run(*asked, *trust, "--tls-cert", own, "--tls-key", own_key).returncode == 0
        assert run(*asked, *trust).returncode == 1
