"""The flags that TensorFlow Serving is started with."""

from __future__ import annotations

from vitrine_serving.embedded.cpus import available_cpus

CONFIG_DIR = "/etc/vitrine"
GRPC_PORT = 8500
REST_PORT = 8501
# TensorFlow Serving's default, 4 a CPU, refuses the fifth request of a CPU with RESOURCE_EXHAUSTED, although threads
# cost little while they wait for their batch.
GRPC_THREADS = 256


def server_flags(
    config_dir: str = CONFIG_DIR,
    *,
    grpc_port: int = GRPC_PORT,
    rest_port: int = REST_PORT,
    cpus: int | None = None,
    gpu: bool = False,
    grpc_threads: int = GRPC_THREADS,
    batching: bool = False,
) -> list[str]:
    """TensorFlow Serving's flags for a folder that `write_config` has filled.

    Args:
        config_dir: the folder, as the server sees it.
        cpus: CPUs of the server; None: those this process may run on.
        gpu: the network runs on a GPU: TensorFlow chooses its threads itself.
        grpc_threads: gRPC requests handled at once; those beyond are refused with RESOURCE_EXHAUSTED.
        batching: merge whole requests as batching.config says. A broken picture then fails its whole batch.
    """
    folder = config_dir.rstrip("/")
    flags = [
        *port_flags(grpc_port, rest_port),
        f"--model_config_file={folder}/models.config",
        # Labels are assigned before anything is loaded: without it no list with a label is accepted at the start.
        # A label in use still moves to loaded versions only.
        "--allow_version_labels_for_unavailable_models=true",
        f"--monitoring_config_file={folder}/monitoring.config",
        *([] if gpu else cpu_flags(cpus)),
        f"--grpc_max_threads={grpc_threads}",
        *load_flags(),
    ]
    if batching:
        flags += ["--enable_batching=true", f"--batching_parameters_file={folder}/batching.config"]
    return flags


def port_flags(grpc_port: int, rest_port: int) -> list[str]:
    return [f"--port={grpc_port}", f"--rest_api_port={rest_port}"]


def cpu_flags(cpus: int | None = None) -> list[str]:
    """Threads for `cpus` CPUs; None: those this process may run on."""
    # TensorFlow's own choice of threads halves the throughput of small models on a CPU.
    return [
        "--tensorflow_intra_op_parallelism=1",
        f"--tensorflow_inter_op_parallelism={available_cpus() if cpus is None else cpus}",
    ]


def load_flags() -> list[str]:
    # Versions are published whole: one that cannot be loaded stays so, and is better told of at once than after five
    # minutes.
    return ["--max_num_load_retries=0"]
