"""Clients of single servers: by the pod's own address in the cluster, through the API server from outside."""

from __future__ import annotations

from urllib.parse import quote

from vitrine_client.rest import RestClient
from vitrine_client.settings import TLS
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.kubernetes.api import Object
from vitrine_serving.rollout.kubernetes.connection import Connection
from vitrine_serving.rollout.kubernetes.naming import REST_PORT


def client_of(connection: Connection, pod: Object, model: str, version: int, timeout: float = 30.0) -> RestClient:
    """A client of the pod's server that asks for `version`, and asks once; `timeout` in seconds.

    Raises CommandError where the API server is trusted without a certificate, which the client does not do.
    """
    if connection.in_cluster:
        ip = pod["status"]["podIP"]
        host = f"[{ip}]" if ":" in ip else ip
        return RestClient(f"http://{host}:{REST_PORT}", model=model, version=version, timeout=timeout, retries=0)
    configuration = connection.configuration
    metadata = pod["metadata"]
    proxy = f"api/v1/namespaces/{quote(metadata['namespace'])}/pods/{quote(metadata['name'])}:{REST_PORT}/proxy"
    tls = None
    if configuration.host.startswith("https://"):
        if not configuration.verify_ssl:
            raise CommandError(
                f"context {connection.context} does not check who the API server is (insecure-skip-tls-verify), so "
                "pictures are not sent through it; give the kubeconfig the cluster's certificate-authority, or run "
                "this in the cluster"
            )
        tls = TLS(
            ca=configuration.ssl_ca_cert,
            certificate=configuration.cert_file,
            key=configuration.key_file,
            server_name=configuration.tls_server_name,
        )
    return RestClient(
        f"{configuration.host}/{proxy}",
        model=model,
        version=version,
        timeout=timeout,
        retries=0,
        tls=tls,
        # As they are at each call: tokens of a pod and of a cloud's login last an hour or less.
        headers=connection.authorization,
    )
