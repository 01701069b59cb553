"""`vitrine-serving config write | check | flags`: what they do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from vitrine_serving.config.batching import BatchingSettings
from vitrine_serving.config.checking import check_file
from vitrine_serving.config.flags import server_flags
from vitrine_serving.config.folder import ServingConfig, write_config
from vitrine_serving.config.models import PinnedModel
from vitrine_serving.config.pinning import pin_model
from vitrine_serving.errors import CommandError

CheckWritable = Callable[[Path, Mapping[str, int], Collection[str]], None]
"""May these versions, by model, be pinned in this folder, those of the last argument because they were named?
Raises CommandError."""


def write(arguments: argparse.Namespace, check_writable: CheckWritable) -> None:
    requested = dict(pair for group in arguments.model for pair in group)
    if arguments.version is not None:
        requested = dict.fromkeys(requested, arguments.version)
    models = tuple(
        pin_model(arguments.models, name, version, arguments.base_path, arguments.label)
        for name, version in requested.items()
    )
    asked_for = [name for name, version in requested.items() if version is not None]
    check_writable(arguments.out, {model.name: model.versions[0] for model in models}, asked_for)
    batching = BatchingSettings(
        max_batch_size=arguments.max_batch_size,
        batch_timeout_micros=arguments.batch_timeout_micros,
        max_enqueued_batches=arguments.max_enqueued_batches,
        num_batch_threads=arguments.num_batch_threads,
        allowed_batch_sizes=arguments.allowed_batch_sizes,
    )
    files = write_config(arguments.out, ServingConfig(models, batching, arguments.probe_address))
    if arguments.json:
        _out(json.dumps({"folder": str(arguments.out), "models": [_as_json(model) for model in models]}))
    else:
        for model in models:
            _out(f"{model.name}: version {model.versions[0]} of {model.base_path}")
    sys.stderr.write(f"wrote {', '.join(sorted(path.name for path in files))} to {arguments.out}\n")


def check(arguments: argparse.Namespace) -> None:
    findings = [check_file(path) for path in arguments.files]
    if arguments.json:
        _out(json.dumps([vars(finding) for finding in findings]))
    else:
        for finding in findings:
            _out(str(finding))
    bad = sum(finding.problem is not None for finding in findings)
    if bad:
        raise CommandError(f"{bad} of {len(findings)} files would not be taken by TensorFlow Serving")


def flags(arguments: argparse.Namespace) -> None:
    if arguments.grpc_port == arguments.rest_port:
        raise CommandError(f"--grpc-port and --rest-port are both {arguments.grpc_port}; give them different ports")
    given = server_flags(
        arguments.config_dir,
        grpc_port=arguments.grpc_port,
        rest_port=arguments.rest_port,
        cpus=arguments.cpus,
        gpu=arguments.gpu,
        grpc_threads=arguments.grpc_threads,
        batching=arguments.batching,
    )
    _out(json.dumps(given) if arguments.json else "\n".join(given))


def _as_json(model: PinnedModel) -> dict[str, object]:
    return {
        "name": model.name,
        "version": model.versions[0],
        "base_path": model.base_path,
        "labels": dict(model.labels),
    }


def _out(text: str) -> None:
    sys.stdout.write(f"{text}\n")
