"""What the clients' real traffic says: TensorFlow Serving's own metrics, counted by Prometheus.

A counter that begins inside of the window, as those of a new pod and that of a first error do, counts from nothing:
its first scraped value was all counted within the window. (`increase` alone would leave it out, and so every error of
a server that made all of them between two scrapes.) Where Prometheus itself has not looked at a server before, or was
without it when the window began, all that this server has ever counted is taken in.

A counter that begins within the window and starts again from nothing is counted too low, for its first value cannot be
told then and its least one is taken: a server that is restarted that soon is for the target's health to notice.
"""

from __future__ import annotations

import json
import math
from typing import Any

import requests
from urllib3.exceptions import HTTPError

from vitrine_client.images.urls import without_credentials
from vitrine_serving.errors import CommandError
from vitrine_serving.rollout.evidence import Evidence, Traffic

SOURCE = "prometheus"
# The buckets of TensorFlow Serving's latencies grow by this factor: what lies within one cannot be told apart.
BUCKET_GROWTH = 1.8
_TIMEOUT = (5.0, 30.0)
_MOST_BYTES = 1 << 20
# As in monitoring/prometheus/rules/recording.yml: an empty API is a request for the status, such as a probe's, and
# these statuses are the caller's fault.
_TIMED = 'API!="",status=~"|OK"'
_CALLERS_FAULT = "CANCELLED|INVALID_ARGUMENT|NOT_FOUND|PERMISSION_DENIED|OUT_OF_RANGE|UNAUTHENTICATED"
_COUNT = ":tensorflow:serving:request_count"
_LATENCY = ":tensorflow:serving:request_latency"


def traffic_evidence(
    address: str, selectors_stable: str | None, selectors_canary: str | None, seconds: float
) -> tuple[Evidence | None, str]:
    """Evidence of real traffic; or None, and a note that says why there is none."""
    where = without_credentials(address)
    if not (selectors_stable and selectors_canary):
        return None, f"{where}: the servers of both versions cannot be told apart there; our own questions alone count"
    try:
        traffic = read_traffic(address, selectors_stable, selectors_canary, seconds)
    except CommandError as error:
        return None, f"{error}; our own questions alone count"
    if traffic is None:
        return None, (
            f"{where}: no metrics of these servers in the last {seconds:.0f} s (have they a monitoring.config, and are "
            "they scraped?); our own questions alone count"
        )
    return Evidence(SOURCE, *traffic, compared=0, disagreements=0), ""


def read_traffic(
    address: str, selectors_stable: str, selectors_canary: str, seconds: float
) -> tuple[Traffic, Traffic] | None:
    """Requests for inference to stable and canary in the last `seconds`; errors are those of the servers alone.

    Percentiles are interpolated within the buckets of successful requests' latencies.

    Args:
        address: Prometheus', such as http://prometheus:9090.
        selectors_stable, selectors_canary: label matchers that pick the track's servers, such as `pod=~"a|b"`.

    Returns:
        None where there is not one series of either.

    Raises:
        CommandError: nothing answers at the address, or it is no Prometheus, or it refuses.
    """
    # By its own clock, the same for all queries.
    now = _query(address, "vector(time())", None)
    stable, canary = (_traffic(address, selectors, seconds, now) for selectors in (selectors_stable, selectors_canary))
    if stable is None and canary is None:
        return None
    nothing = Traffic(0, 0, None, None)
    return stable or nothing, canary or nothing


def _traffic(address: str, selectors: str, seconds: float, now: float | None) -> Traffic | None:
    window = f"{max(1, round(seconds))}s"

    def counted(metric: str, matchers: str, by: str = "") -> str:
        series = f"{metric}{{{matchers},{selectors.strip().strip(',')}}}"
        grown = f"sum by ({by}) (increase({series}[{window}]))"
        begun = f"sum by ({by}) (min_over_time({series}[{window}]) unless {series} offset {window})"
        return f"(({grown} + {begun}) or {grown} or {begun})"

    buckets = counted(f"{_LATENCY}_bucket", _TIMED, "le")
    good = _query(address, counted(f"{_LATENCY}_count", _TIMED), now)
    failed = _query(address, counted(_COUNT, 'status!="OK"'), now)
    errors = _query(address, counted(_COUNT, f'status!="OK",status!~"{_CALLERS_FAULT}"'), now)
    if good is None and failed is None:
        return None
    p50, p99 = (_query(address, f"histogram_quantile({quantile}, {buckets}) / 1e6", now) for quantile in (0.5, 0.99))
    return Traffic(round((good or 0) + (failed or 0)), round(errors or 0), p50, p99)


def _query(address: str, expression: str, now: float | None) -> float | None:
    """The value of an instant query for a single one; None where there is none, or it is no number.

    `now` is in seconds since 1970, None for Prometheus' own. Raises CommandError.
    """
    where = without_credentials(address)
    # By POST, for the selectors of many pods are longer than an address may be.
    parameters = {"query": expression} if now is None else {"query": expression, "time": repr(now)}
    try:
        with requests.post(
            f"{address.rstrip('/')}/api/v1/query",
            parameters,
            timeout=_TIMEOUT,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = response.raw.read(_MOST_BYTES + 1, decode_content=True)
            status = response.status_code
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        said = str(getattr(error.args[0], "reason", error) if error.args else error).replace(address, where)
        raise CommandError(
            f"{where}: Prometheus does not answer ({said}); check the address, such as http://prometheus:9090"
        ) from None
    answer = _parsed(content)
    if status != requests.codes.ok or answer.get("status") != "success":
        said = str(answer.get("error", "no answer of Prometheus' API"))[:300]
        raise CommandError(f"{where}: Prometheus refuses (HTTP {status}: {said}); check the address and its selectors")
    try:
        found = [float(series["value"][1]) for series in answer["data"]["result"]]
    except (KeyError, TypeError, ValueError, IndexError):
        raise CommandError(f"{where}: no answer of Prometheus' API; check the address") from None
    return found[0] if found and math.isfinite(found[0]) else None


def _parsed(content: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}
