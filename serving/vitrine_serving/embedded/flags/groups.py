"""Every flag, in the groups of `--help`: its name, type, kind, help and default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, get_type_hints

from vitrine_serving.embedded.cpus import request_threads
from vitrine_serving.embedded.flags.kinds import (
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    ChannelArguments,
    File,
    Kind,
    Number,
    Switch,
    Tags,
    Text,
    Whole,
)


@dataclass(frozen=True)
class ModelFlags:
    model_name: Annotated[str, Text("name clients ask for; unused with --model_config_file", required=True)] = "default"
    model_base_path: Annotated[
        str, File("directory of the model's versions; needed unless --model_config_file is given, else unused")
    ] = ""
    model_config_file: Annotated[
        str, File("ModelServerConfig as text: several models, version policies, version labels")
    ] = ""
    model_config_file_poll_wait_seconds: Annotated[
        int, Whole("seconds between readings of that file; 0 or less reads it once, at the start", INT32_MIN)
    ] = 0
    file_system_poll_wait_seconds: Annotated[
        int, Whole("seconds between looks for a new version; 0 looks once, less never", INT32_MIN)
    ] = 1
    max_num_load_retries: Annotated[int, Whole("how often a version that failed to load is tried again")] = 5
    load_retry_interval_micros: Annotated[
        int, Whole("microseconds between those tries; less than 0 waits for none", INT64_MIN, INT64_MAX)
    ] = 60_000_000
    num_load_threads: Annotated[int, Whole("versions loaded at once after the start; 0 loads one after the other")] = 0
    saved_model_tags: Annotated[tuple[str, ...], Tags("tags of the MetaGraph to load, separated by commas")] = (
        "serve",
    )
    enable_model_warmup: Annotated[bool, Switch("replay a version's warm-up requests before it is served")] = True
    num_request_iterations_for_warmup: Annotated[
        int, Whole("how often each of them is replayed; 0 or less: once", INT32_MIN)
    ] = 0
    allow_version_labels_for_unavailable_models: Annotated[
        bool, Switch("let a new label point to a version that is not loaded yet")
    ] = False
    enable_signature_method_name_check: Annotated[
        bool, Switch("refuse Classify and Regress on signatures exported with another method name")
    ] = False
    prefer_tflite_model: Annotated[
        bool, Switch("serve a version's model.tflite, where it has one, with TensorFlow Lite on the CPU")
    ] = False
    num_tflite_pools: Annotated[
        int | None, Whole("runs at once of such a model; less than 1: one; not given: one a core", INT32_MIN)
    ] = None


@dataclass(frozen=True)
class GrpcFlags:
    port: Annotated[int, Whole("TCP port of the gRPC API; 0 for none, with --grpc_socket_path", 0, 65535)] = 8500
    grpc_socket_path: Annotated[str, File("UNIX socket to serve the gRPC API on as well")] = ""
    grpc_max_threads: Annotated[
        int | None,
        Whole("gRPC requests handled at once, more are refused with RESOURCE_EXHAUSTED; not given: more wait", 1),
    ] = None
    grpc_channel_arguments: Annotated[
        tuple[tuple[str, int | str], ...], ChannelArguments("channel arguments of the gRPC server")
    ] = ()
    ssl_config_file: Annotated[str, File("SSLConfig as text: serve the gRPC API with TLS")] = ""
    use_alts_credentials: Annotated[bool, Switch("serve the gRPC API with Google Cloud's ALTS")] = False
    enable_grpc_healthcheck_service: Annotated[bool, Switch("serve gRPC's standard health checks")] = False
    enable_serialization_as_tensor_content: Annotated[
        bool, Switch("answer Predict with tensor_content instead of typed fields")
    ] = False


@dataclass(frozen=True)
class RestFlags:
    rest_api_port: Annotated[int, Whole("TCP port of the REST API; 0 for none", 0, 65535)] = 0
    rest_api_num_threads: Annotated[int, Whole("REST requests handled at once", 1)] = field(
        default_factory=request_threads
    )
    rest_api_timeout_in_ms: Annotated[
        int, Whole("milliseconds a REST request may take; 0 or less for no limit", INT32_MIN)
    ] = 30_000
    rest_api_enable_cors_support: Annotated[bool, Switch("answer with CORS headers")] = False


@dataclass(frozen=True)
class BatchingFlags:
    enable_batching: Annotated[bool, Switch("run concurrent requests together")] = False
    batching_parameters_file: Annotated[str, File("BatchingParameters as text; needs --enable_batching")] = ""
    enable_per_model_batching_parameters: Annotated[
        bool, Switch("read those of a version from its batching_params.pbtxt; needs --enable_batching")
    ] = False


@dataclass(frozen=True)
class TensorFlowFlags:
    tensorflow_session_config_file: Annotated[
        str, File("ConfigProto as text; the three flags below win over its numbers of threads")
    ] = ""
    tensorflow_session_parallelism: Annotated[
        int | None, Whole("for both of the two below, where neither is above 0; 0: TensorFlow chooses")
    ] = None
    tensorflow_intra_op_parallelism: Annotated[
        int | None, Whole("threads of one operation; 0: TensorFlow chooses; not given: 1 on a CPU, 0 on a GPU")
    ] = None
    tensorflow_inter_op_parallelism: Annotated[
        int | None, Whole("operations run at once; 0: TensorFlow chooses; not given: one a core on a CPU, 0 on a GPU")
    ] = None
    per_process_gpu_memory_fraction: Annotated[
        float, Number("part of each GPU's memory to take; 0: TensorFlow chooses", highest=1.0)
    ] = 0.0
    xla_cpu_compilation_enabled: Annotated[bool, Switch("run functions marked for XLA on a CPU")] = False
    xla_gpu_compilation_enabled: Annotated[bool, Switch("run functions marked for XLA on a CPU or a GPU")] = False


@dataclass(frozen=True)
class MonitoringFlags:
    monitoring_config_file: Annotated[str, File("MonitoringConfig as text: serve Prometheus metrics by REST")] = ""


@dataclass(frozen=True)
class OwnFlags:
    drain_seconds: Annotated[float, Number("after SIGTERM, seconds for requests in flight to finish")] = 30.0
    max_request_bytes: Annotated[int, Whole("longest REST body or gRPC message accepted; 0 for no limit")] = 0
    max_image_pixels: Annotated[int, Whole("largest picture decoded; 0 leaves it as exported", 0, INT64_MAX)] = 0
    max_concurrent_requests: Annotated[
        int, Whole("requests of each API in work at once, more get RESOURCE_EXHAUSTED or 429; 0 for no limit")
    ] = 0
    # Larger ones save next to nothing a row, hold up what waits, and TensorFlow's oneDNN keeps their memory for good.
    max_cpu_batch_size: Annotated[
        int, Whole("on a CPU, most rows run at once by an in-graph batch that splits larger ones; 0 as exported")
    ] = 4
    read_timeout_seconds: Annotated[float, Number("seconds a client may take to send a REST request", 0.001)] = 60.0
    access_log: Annotated[str, File("file for a JSON line on each request; - for standard error")] = ""
    rest_api_extensions: Annotated[bool, Switch("serve /healthz, /readyz and GET /v1/models by REST")] = False
    per_version_metrics: Annotated[bool, Switch("count requests by version too")] = False
    # TensorFlow Serving has this as an option of its library and not as a flag.
    force_allow_any_version_labels_for_unavailable_models: Annotated[
        bool, Switch("let any label, even one in use, point to a version that is not loaded yet")
    ] = False


@dataclass(frozen=True)
class IneffectiveFlags:
    num_unload_threads: Annotated[int, Whole("versions unloaded at once")] = 0
    flush_filesystem_caches: Annotated[bool, Switch("drop file system caches after loading")] = True
    platform_config_file: Annotated[str, File("PlatformConfigMap as text")] = ""
    remove_unused_fields_from_bundle_metagraph: Annotated[bool, Switch("save memory on graphs")] = True
    num_tflite_interpreters_per_pool: Annotated[int, Whole("interpreters in each pool", INT32_MIN)] = 1
    enable_profiler: Annotated[bool, Switch("serve TensorFlow's profiler")] = True
    thread_pool_factory_config_file: Annotated[str, File("ThreadPoolConfig as text")] = ""
    mixed_precision: Annotated[str, Text("mixed precision mode")] = ""
    skip_initialize_tpu: Annotated[bool, Switch("leave TPUs uninitialised")] = False


@dataclass(frozen=True)
class Flags(ModelFlags, GrpcFlags, RestFlags, BatchingFlags, TensorFlowFlags, MonitoringFlags, OwnFlags):
    """Checked flag values, named as on the command line; see `parse`.

    `tensorflow_intra_op_parallelism` and `tensorflow_inter_op_parallelism` already have
    `tensorflow_session_parallelism` in them. `ineffective` names the flags given that do nothing here.
    """

    ineffective: tuple[str, ...] = ()


GROUPS: dict[str, type] = {
    "models": ModelFlags,
    "gRPC": GrpcFlags,
    "REST": RestFlags,
    "batching": BatchingFlags,
    "TensorFlow": TensorFlowFlags,
    "monitoring": MonitoringFlags,
    "beyond TensorFlow Serving": OwnFlags,
    "accepted without effect": IneffectiveFlags,
}


def kinds_of(group: type) -> dict[str, Kind]:
    """The flags of a group by name, in its order."""
    hints = get_type_hints(group, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}
