"""Whose cluster, and as whom: the caller's kubeconfig, or the service account of the pod that this runs in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from kubernetes import client, config
from kubernetes.config.incluster_config import SERVICE_HOST_ENV_NAME, SERVICE_TOKEN_FILENAME

from vitrine_serving.errors import CommandError

_NAMESPACE_FILE = Path(SERVICE_TOKEN_FILENAME).with_name("namespace")


@dataclass(frozen=True)
class Connection:
    """How the API server is reached.

    Attributes:
        configuration: address, certificates and credentials, refreshed when they expire.
        namespace: what is worked in.
        context: the kubeconfig's name for it all; `in-cluster` for a pod's service account.
        in_cluster: pods can be reached by their own addresses.
    """

    configuration: client.Configuration
    namespace: str
    context: str
    in_cluster: bool

    def authorization(self) -> dict[str, str]:
        """The header that proves who asks, as of now; empty where a client certificate does."""
        value = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"authorization": value.strip()} if value else {}


def connection(context: str | None, namespace: str | None) -> Connection:
    """From the kubeconfig (KUBECONFIG, or ~/.kube/config); without one from the pod's service account.

    Raises CommandError where there is neither, the context is unknown, or a file cannot be used. Nothing is sent.
    """
    files = [Path(name).expanduser() for name in _kubeconfig().split(os.pathsep) if name]
    configuration = client.Configuration()
    # Calls are made again by `Api`, which knows which may be.
    configuration.retries = False
    if any(file.is_file() for file in files):
        return _from_kubeconfig(configuration, context, namespace)
    if context is None and SERVICE_HOST_ENV_NAME in os.environ and Path(SERVICE_TOKEN_FILENAME).is_file():
        return _from_service_account(configuration, namespace)
    raise CommandError(
        f"no kubeconfig at {', '.join(map(str, files))}, and this is no pod with a service account; set KUBECONFIG to "
        "the file that your cluster's administrator or provider gave you"
    )


def _kubeconfig() -> str:
    return os.environ.get("KUBECONFIG") or "~/.kube/config"


def _from_kubeconfig(configuration: client.Configuration, context: str | None, namespace: str | None) -> Connection:
    where = f"kubeconfig {_kubeconfig()}"
    try:
        contexts, current = config.list_kube_config_contexts(_kubeconfig())
        named = {entry["name"]: entry["context"] for entry in contexts}
        chosen = context or current["name"]
        if chosen not in named:
            raise CommandError(f"context {chosen!r} is not in {where}; there are: {', '.join(sorted(named))}")
        config.load_kube_config(
            config_file=_kubeconfig(), context=chosen, client_configuration=configuration, persist_config=False
        )
    except (config.ConfigException, yaml.YAMLError, OSError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise CommandError(f"{where} cannot be used: {reason}; `kubectl config view` shows what it says") from None
    return Connection(configuration, namespace or named[chosen].get("namespace") or "default", chosen, False)


def _from_service_account(configuration: client.Configuration, namespace: str | None) -> Connection:
    try:
        config.load_incluster_config(client_configuration=configuration)
        own = _NAMESPACE_FILE.read_text().strip()
    except (config.ConfigException, OSError) as error:
        raise CommandError(
            f"this pod's service account cannot be used: {error}; give the pod serviceAccountName: NAME-rollout, "
            "and automountServiceAccountToken: true"
        ) from None
    return Connection(configuration, namespace or own, "in-cluster", True)
