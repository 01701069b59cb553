"""`vitrine-serving config flags`: the command line that servers are started with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitrine_serving import cli
from vitrine_serving.config import server_flags
from vitrine_serving.embedded.cpus import available_cpus
from vitrine_serving.embedded.flags import parse
from vitrine_serving.engines import ServerOptions


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    cli.main(["config", "flags", *arguments])
    return capsys.readouterr().out.splitlines()


def test_one_flag_a_line(capsys) -> None:
    assert printed(capsys, "--cpus", "6") == [
        "--port=8500",
        "--rest_api_port=8501",
        "--model_config_file=/etc/vitrine/models.config",
        "--allow_version_labels_for_unavailable_models=true",
        "--monitoring_config_file=/etc/vitrine/monitoring.config",
        "--tensorflow_intra_op_parallelism=1",
        "--tensorflow_inter_op_parallelism=6",
        "--grpc_max_threads=256",
        "--max_num_load_retries=0",
    ]


def test_the_cpus_of_this_process_are_the_default(capsys) -> None:
    assert f"--tensorflow_inter_op_parallelism={available_cpus()}" in printed(capsys)


def test_a_gpu_chooses_its_own_threads(capsys) -> None:
    flags = printed(capsys, "--gpu")
    assert "--port=8500" in flags
    assert not [flag for flag in flags if "parallelism" in flag]


def test_batching_and_other_places(capsys) -> None:
    options = ("--batching", "--config-dir", "/srv/config/", "--grpc-threads", "32", "--grpc-port", "9000", "--json")
    flags = json.loads("".join(printed(capsys, *options, "--rest-port", "9001")))
    assert set(flags) >= {
        "--enable_batching=true",
        "--batching_parameters_file=/srv/config/batching.config",
        "--model_config_file=/srv/config/models.config",
        "--grpc_max_threads=32",
        "--port=9000",
        "--rest_api_port=9001",
    }


def test_the_embedded_server_takes_them_all() -> None:
    assert parse(server_flags(batching=True)).ineffective == ()


def test_servers_of_one_model_get_the_same_threads_retries_and_metrics() -> None:
    options = ServerOptions("pets", Path("/models/pets"), grpc_port=8500, rest_port=8501)
    one_model = options.flags("/models/pets", 8500, 8501, "/etc/vitrine/monitoring.config")
    assert set(one_model) - set(server_flags()) == {"--model_name=pets", "--model_base_path=/models/pets"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--cpus", "0"), 2),
        (("--cpus", "2", "--gpu"), 2),
        (("--grpc-port", "70000"), 2),
        (("--grpc-port", "9000", "--rest-port", "9000"), 1),
    ],
)
def test_what_makes_no_sense(arguments: tuple[str, ...], code: int) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["config", "flags", *arguments])
    assert (2 if stopped.value.code == 2 else 1) == code


@pytest.mark.parametrize("arguments", [(), ("write",), ("check",), ("flags",)])
def test_help_has_examples(capsys, arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["config", *arguments, "--help"])
    assert stopped.value.code == 0
    assert "examples:" in capsys.readouterr().out
