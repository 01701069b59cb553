"""The flags: TensorFlow Serving's names, spellings and refusals, and what becomes of them."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrine_serving.embedded.cpus import available_cpus
from vitrine_serving.embedded.flags import Flags, parse

BASE = "--model_base_path=models"

# Together the flags of tensorflow_model_server 2.20, each with a value its parser takes.
HONOURED = shlex.split("""
    --port=8500 --grpc_socket_path=/tmp/serving.sock --rest_api_port=8501 --rest_api_num_threads=8
    --rest_api_timeout_in_ms=5000 --rest_api_enable_cors_support=true --enable_batching=true
    --allow_version_labels_for_unavailable_models=true --batching_parameters_file=batching.config
    --enable_per_model_batching_parameters=true --model_config_file=models.config
    --model_config_file_poll_wait_seconds=-1 --model_name=flowers --model_base_path=models/flowers
    --num_load_threads=2 --max_num_load_retries=0 --load_retry_interval_micros=-1
    --file_system_poll_wait_seconds=-1 --tensorflow_session_parallelism=0
    --tensorflow_session_config_file=session.config --tensorflow_intra_op_parallelism=1
    --tensorflow_inter_op_parallelism=2 --use_alts_credentials=false --ssl_config_file=ssl.config
    --per_process_gpu_memory_fraction=0.5 --saved_model_tags=serve,gpu
    --grpc_channel_arguments=grpc.max_connection_age_ms=2000 --grpc_max_threads=8 --enable_model_warmup=false
    --num_request_iterations_for_warmup=3 --monitoring_config_file=monitoring.config
    --enable_signature_method_name_check=true --xla_cpu_compilation_enabled=true
    --xla_gpu_compilation_enabled=true --enable_grpc_healthcheck_service=true
    --enable_serialization_as_tensor_content=true --prefer_tflite_model=true --num_tflite_pools=2
""")
WITHOUT_EFFECT = shlex.split("""
    --num_unload_threads=2 --flush_filesystem_caches=false --platform_config_file=platform.config
    --remove_unused_fields_from_bundle_metagraph=false
    --num_tflite_interpreters_per_pool=2 --enable_profiler=false --thread_pool_factory_config_file=pool.config
    --mixed_precision=bfloat16 --skip_initialize_tpu=true
""")

TYPED = {
    "true": True,
    "false": False,
    "serve,gpu": ("serve", "gpu"),
    "grpc.max_connection_age_ms=2000": (("grpc.max_connection_age_ms", 2000),),
}


def name_and_value(argument: str) -> tuple[str, str]:
    name, _, value = argument.removeprefix("--").partition("=")
    return name, value


def parallelism(flags: Flags) -> tuple[int | None, int | None]:
    return flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line a wrong command line ends with."""
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    written = capsys.readouterr()
    assert stopped.value.code == 2
    assert written.out == ""
    assert written.err.startswith("vitrine-model-server: error: ")
    assert written.err.endswith(" (--help lists the flags)\n")
    assert written.err.count("\n") == 1
    return written.err


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    written = capsys.readouterr()
    assert stopped.value.code == 0
    assert written.err == ""
    return written.out


def test_the_defaults_are_tensorflow_serving_s():
    flags = parse([BASE])
    assert (flags.port, flags.rest_api_port, flags.grpc_socket_path) == (8500, 0, "")
    assert (flags.model_name, flags.model_base_path, flags.model_config_file) == ("default", "models", "")
    assert (flags.file_system_poll_wait_seconds, flags.model_config_file_poll_wait_seconds) == (1, 0)
    assert (flags.max_num_load_retries, flags.load_retry_interval_micros) == (5, 60_000_000)
    assert (flags.num_load_threads, flags.num_request_iterations_for_warmup) == (0, 0)
    assert (flags.rest_api_timeout_in_ms, flags.per_process_gpu_memory_fraction) == (30_000, 0)
    assert flags.saved_model_tags == ("serve",)
    on = {name for name, value in vars(flags).items() if value is True}
    assert on == {"enable_model_warmup"}


def test_what_is_not_given_is_left_to_choose():
    flags = parse([BASE])
    assert flags.grpc_max_threads is None
    assert flags.tensorflow_session_parallelism is None
    assert parallelism(flags) == (None, None)
    assert flags.rest_api_num_threads == max(16, 4 * available_cpus())
    assert flags.ineffective == ()


def test_what_tensorflow_serving_lacks_is_off():
    flags = parse([BASE])
    assert (flags.max_request_bytes, flags.max_image_pixels, flags.max_concurrent_requests) == (0, 0, 0)
    assert flags.access_log == ""
    assert (flags.drain_seconds, flags.read_timeout_seconds) == (30, 60)


@pytest.mark.parametrize("argument", HONOURED)
def test_a_flag_of_tensorflow_serving(argument):
    name, value = name_and_value(argument)
    flags = parse([BASE, "--enable_batching", argument])
    given = getattr(flags, name)
    assert (given == TYPED[value]) if value in TYPED else (str(given) == value)
    assert flags.ineffective == ()


@pytest.mark.parametrize("argument", WITHOUT_EFFECT)
def test_a_flag_of_tensorflow_serving_without_effect(argument):
    assert parse([BASE, argument]).ineffective == (name_and_value(argument)[0],)


def test_all_of_them_at_once_and_in_the_help(capsys):
    assert len(parse([*HONOURED, *WITHOUT_EFFECT, "--version=false"]).ineffective) == len(WITHOUT_EFFECT)
    shown = printed(capsys, "--help")
    for argument in (*HONOURED, *WITHOUT_EFFECT, "--version"):
        assert f"  --{name_and_value(argument)[0]}" in shown


@pytest.mark.parametrize(
    ("text", "value"), [("", True), ("=true", True), ("=TRUE", True), ("=1", True), ("=False", False), ("=0", False)]
)
def test_spellings_of_true_and_false(text, value):
    assert parse([BASE, f"--enable_model_warmup{text}"]).enable_model_warmup is value


def test_a_switch_does_not_take_the_next_argument(capsys):
    assert "unknown argument: 'false'" in refusal(capsys, BASE, "--enable_batching", "false")


def test_values_may_follow_as_arguments_of_their_own():
    flags = parse(["--model_base_path", "a=b", "--file_system_poll_wait_seconds", "-1"])
    assert (flags.model_base_path, flags.file_system_poll_wait_seconds) == ("a=b", -1)


def test_of_a_flag_given_twice_the_last_counts():
    flags = parse(["--port=1", BASE, "--port=2", "--enable_profiler", "--enable_profiler=false"])
    assert flags.port == 2
    assert flags.ineffective == ("enable_profiler",)


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_int64_is_read_exactly(number):
    assert parse([BASE, f"--load_retry_interval_micros={number}"]).load_retry_interval_micros == number


@pytest.mark.parametrize(
    ("argument", "phrase"),
    [
        ("--port=-1", "--port: -1 is not a whole number from 0 to 65535"),
        ("--port=65536", "--port: 65536 is not a whole number from 0 to 65535"),
        ("--port=", "--port: '' is not a whole number"),
        ("--port=8500x", "--port: '8500x' is not a whole number"),
        ("--port=8_500", "--port: '8_500' is not a whole number"),
        ("--port=1e3", "--port: '1e3' is not a whole number"),
        ("--rest_api_timeout_in_ms=2147483648", "2147483648 is not a whole number"),
        ("--load_retry_interval_micros=9223372036854775808", "--load_retry_interval_micros: 9223372036854775808 is"),
        ("--per_process_gpu_memory_fraction=90", "'90' is not a number from 0 to 1"),
        ("--drain_seconds=nan", "--drain_seconds: 'nan' is not a number from 0 to 1000000"),
        ("--drain_seconds=inf", "--drain_seconds: 'inf' is not"),
        ("--drain_seconds=1_0", "--drain_seconds: '1_0' is not"),
        ("--read_timeout_seconds=0", "--read_timeout_seconds: '0' is not"),
        ("--enable_batching=yes", "--enable_batching: 'yes' is not true or false"),
        ("--enable_batching=", "--enable_batching: '' is not true or false"),
        ("--model_name=", "--model_name: must not be empty"),
        ("--num_tflite_pools=many", "--num_tflite_pools: 'many' is not a whole number"),
        ("--rest_api_port=8500", "--port and --rest_api_port are both 8500; give them different ports"),
    ],
)
def test_values_that_do_not_fit(capsys, argument, phrase):
    assert phrase in refusal(capsys, BASE, argument)


def test_a_missing_value(capsys):
    for arguments in ([BASE, "--port"], ["--port", BASE]):
        assert "--port needs a value: --port=NUMBER" in refusal(capsys, *arguments)


@pytest.mark.parametrize(
    ("argument", "suggestion"),
    [
        ("--model_base=x", "--model_base_path"),
        ("--rest-api-port=1", "--rest_api_port"),
        ("-port=1", "--port"),
        ("--enable_per_model_batching_params", "--enable_per_model_batching_parameters"),
        ("--use_tflite_model", "--prefer_tflite_model"),
        ("--noenable_batching", "--enable_batching=false"),
    ],
)
def test_an_unknown_flag_that_resembles_one(capsys, argument, suggestion):
    assert f"unknown argument: {argument!r}; did you mean {suggestion}?" in refusal(capsys, BASE, argument)


@pytest.mark.parametrize("argument", ["stray", "--", "-", "", "--=1", "--unheard_of=1", "--a\nb"])
def test_an_unknown_argument_that_resembles_none(capsys, argument):
    message = refusal(capsys, BASE, argument)
    assert f"unknown argument: {argument!r}" in message
    assert "did you mean" not in message


def test_grpc_channel_arguments():
    text = "grpc.max_connection_age_ms=2000,grpc.lb=a=b,grpc.large=2147483648,grpc.negative=-1,grpc.empty="
    assert parse([BASE, f"--grpc_channel_arguments={text}"]).grpc_channel_arguments == (
        ("grpc.max_connection_age_ms", 2000),
        ("grpc.lb", "a=b"),
        ("grpc.large", "2147483648"),
        ("grpc.negative", -1),
        ("grpc.empty", ""),
    )
    assert parse([BASE, "--grpc_channel_arguments="]).grpc_channel_arguments == ()


@pytest.mark.parametrize(("text", "item"), [("grpc.a", "grpc.a"), ("grpc.a=1,", ""), ("=1", "=1")])
def test_grpc_channel_arguments_that_are_none(capsys, text, item):
    message = refusal(capsys, BASE, f"--grpc_channel_arguments={text}")
    assert f"--grpc_channel_arguments: {item!r} is not of the form key=value" in message


def test_no_tags_means_serve():
    assert parse([BASE, "--saved_model_tags="]).saved_model_tags == ("serve",)


@pytest.mark.parametrize("arguments", [[], ["--model_base_path="], ["--model_config_file=", "--model_name=flowers"]])
def test_nothing_to_serve(capsys, arguments):
    assert "--model_base_path and --model_config_file are empty" in refusal(capsys, *arguments)
    assert parse([*arguments, "--model_config_file=models.config"]).model_config_file == "models.config"


def test_batching_parameters_need_batching(capsys):
    wanted = "--batching_parameters_file=batching.config"
    assert "is set without setting --enable_batching to true" in refusal(capsys, BASE, wanted)
    assert parse([BASE, wanted, "--enable_batching"]).batching_parameters_file == "batching.config"


@pytest.mark.parametrize(
    ("session", "intra", "inter", "expected"),
    [
        (3, None, None, (3, 3)),
        (3, 0, None, (3, 3)),
        (3, 2, None, (2, None)),
        (3, None, 2, (None, 2)),
        (0, None, None, (0, 0)),
        (0, 1, 2, (1, 2)),
        (None, 1, 2, (1, 2)),
        (None, 0, 0, (0, 0)),
    ],
)
def test_session_parallelism_is_for_both_unless_one_is_given(session, intra, inter, expected):
    given = {"session": session, "intra_op": intra, "inter_op": inter}
    arguments = [f"--tensorflow_{name}_parallelism={value}" for name, value in given.items() if value is not None]
    assert parallelism(parse([BASE, *arguments])) == expected


def test_three_numbers_of_threads_are_one_too_many(capsys):
    names = ("session", "intra_op", "inter_op")
    message = refusal(capsys, BASE, *(f"--tensorflow_{name}_parallelism=2" for name in names))
    assert "you cannot configure all" in message


def test_version(capsys):
    server, library = printed(capsys, "--version").splitlines()
    assert server.startswith("TensorFlow ModelServer: 2.20.")
    assert "vitrine-model-server" in server
    assert library.startswith("TensorFlow Library: 2.20.")


def test_help_shows_defaults_groups_and_examples(capsys):
    shown = printed(capsys, BASE, "--help")
    for title in ("models", "gRPC", "REST", "batching", "TensorFlow", "monitoring"):
        assert f"\n{title}:\n" in shown
    ours, without_effect = shown.split("\nbeyond TensorFlow Serving:\n")[1].split("\naccepted without effect:\n")
    assert "  --drain_seconds=30\n" in ours
    assert "  --enable_profiler=true\n" in without_effect
    assert "  --per_process_gpu_memory_fraction=0\n" in shown
    assert "  --model_config_file=PATH\n" in shown
    assert "examples:\n  vitrine-model-server --model_name=flowers" in shown
    assert printed(capsys, "-h") == shown


@pytest.mark.parametrize("argument", ["--help", "--version", BASE])
def test_tensorflow_is_not_imported_to_read_flags(argument):
    script = (
        "import atexit, sys; from vitrine_serving.embedded.flags import parse; "
        "atexit.register(lambda: print('imported', 'tensorflow' in sys.modules)); parse()"
    )
    done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("imported False\n")
