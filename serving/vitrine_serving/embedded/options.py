"""From flags, and the files they name, to the typed options of each part of the server."""

from __future__ import annotations

from dataclasses import replace

import grpc as grpc_library
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from vitrine_serving.embedded.cpus import available_cpus, request_threads
from vitrine_serving.embedded.errors import Code, ServingError
from vitrine_serving.embedded.flags import Flags
from vitrine_serving.embedded.grpc.credentials import read_credentials
from vitrine_serving.embedded.grpc.server import GrpcOptions
from vitrine_serving.embedded.inference.batching_parameters import BatchingParameters, read_batching_parameters
from vitrine_serving.embedded.inference.saved_model import SessionOptions
from vitrine_serving.embedded.loading import LoadOptions
from vitrine_serving.embedded.metrics.monitoring_config import MonitoringConfig, read_monitoring_config
from vitrine_serving.embedded.models.labels import LabelPolicy
from vitrine_serving.embedded.models.manager import RetryPolicy
from vitrine_serving.embedded.models.models import ModelsOptions
from vitrine_serving.embedded.rest.options import RestOptions
from vitrine_serving.embedded.text_protos import read_text_proto

# All of these raise ServingError when a file they read is not what it should be.


def monitoring(flags: Flags) -> MonitoringConfig:
    return read_monitoring_config(flags.monitoring_config_file) if flags.monitoring_config_file else MonitoringConfig()


def grpc(flags: Flags) -> GrpcOptions:
    # gRPC reads this as every interface, IPv6 included, like TensorFlow Serving.
    addresses = [f"0.0.0.0:{flags.port}"] if flags.port else []
    if flags.grpc_socket_path:
        addresses.append(f"unix:{flags.grpc_socket_path}")
    credentials = None
    if flags.use_alts_credentials:
        credentials = grpc_library.alts_server_credentials()
    elif flags.ssl_config_file:
        credentials = read_credentials(flags.ssl_config_file)
    common = GrpcOptions(
        addresses,
        threads=flags.grpc_max_threads or request_threads(),
        credentials=credentials,
        max_calls=flags.grpc_max_threads,
        channel_arguments=flags.grpc_channel_arguments,
        max_message_bytes=flags.max_request_bytes or -1,
        tensor_content=flags.enable_serialization_as_tensor_content,
    )
    limit = flags.max_concurrent_requests
    if limit and (common.max_calls is None or limit < common.max_calls):
        refusal = ServingError(Code.RESOURCE_EXHAUSTED, f"More than {limit} requests are in flight; try again")
        return replace(common, max_calls=limit, refusal=refusal)
    return common


def rest(flags: Flags, monitoring_config: MonitoringConfig) -> RestOptions:
    return RestOptions(
        threads=flags.rest_api_num_threads,
        timeout_seconds=flags.rest_api_timeout_in_ms / 1e3,
        max_concurrent_requests=flags.max_concurrent_requests,
        max_request_bytes=flags.max_request_bytes,
        read_timeout_seconds=flags.read_timeout_seconds,
        drain_seconds=flags.drain_seconds,
        enable_cors_support=flags.rest_api_enable_cors_support,
        extensions=flags.rest_api_extensions,
        prometheus_path=monitoring_config.path if monitoring_config.enabled else None,
    )


def models(flags: Flags) -> ModelsOptions:
    return ModelsOptions(
        RetryPolicy(flags.max_num_load_retries, max(0, flags.load_retry_interval_micros) / 1e6),
        num_load_threads=flags.num_load_threads,
        # TensorFlow Serving takes four times as many, which costs memory and makes nothing faster where loads compute.
        num_initial_load_threads=available_cpus(),
        file_system_poll_wait_seconds=flags.file_system_poll_wait_seconds,
        labels=LabelPolicy(
            allow_for_unavailable=flags.allow_version_labels_for_unavailable_models,
            force_allow_for_unavailable=flags.force_allow_any_version_labels_for_unavailable_models,
        ),
    )


def loading(flags: Flags) -> LoadOptions:
    return LoadOptions(
        session=_session(flags),
        tags=flags.saved_model_tags,
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
        check_method_names=flags.enable_signature_method_name_check,
        batching=_batching(flags),
        per_model_batching=flags.enable_per_model_batching_parameters,
        prefer_tflite=flags.prefer_tflite_model,
        tflite_interpreters=available_cpus() if flags.num_tflite_pools is None else max(1, flags.num_tflite_pools),
    )


def _batching(flags: Flags) -> BatchingParameters | None:
    if not flags.enable_batching:
        return None
    if flags.batching_parameters_file:
        return read_batching_parameters(flags.batching_parameters_file)
    return BatchingParameters(thread_pool_name="model_server_batch_threads")


def _session(flags: Flags) -> SessionOptions:
    """On a CPU one thread an operation: TensorFlow's own defaults halve the throughput of small models there."""
    on_cpu = not tf.config.list_physical_devices("GPU")
    config = None
    if flags.tensorflow_session_config_file:
        config = read_text_proto(flags.tensorflow_session_config_file, config_pb2.ConfigProto())
    intra = flags.tensorflow_intra_op_parallelism
    inter = flags.tensorflow_inter_op_parallelism
    if intra is None:
        intra = 1 if on_cpu and not (config and config.intra_op_parallelism_threads) else 0
    if inter is None:
        inter = available_cpus() if on_cpu and not (config and config.inter_op_parallelism_threads) else 0
    return SessionOptions(
        intra_op_parallelism=intra,
        inter_op_parallelism=inter,
        config=config,
        per_process_gpu_memory_fraction=flags.per_process_gpu_memory_fraction,
        batched_runs_at_once=_batched_runs_at_once() if on_cpu else 0,
        batch_threads=available_cpus() if on_cpu else 0,
        batch_rows=flags.max_cpu_batch_size if on_cpu else 0,
    )


def _batched_runs_at_once() -> int:
    """Enough that some decode while others compute, in batches of about four, which cost less a picture than one.

    More make longer batches, and requests wait for the end of theirs. One core leaves no others idle: there turns are
    nothing but switches from one thread to the next.
    """
    cores = available_cpus()
    return 4 * cores if cores > 1 else 0
