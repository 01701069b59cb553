"""TensorFlow Serving's REST paths."""

from __future__ import annotations

import enum
import functools
import re
from typing import NamedTuple
from urllib.parse import unquote

from vitrine_serving.embedded.core import ModelTarget

_MAX_VERSION = 2**63 - 1
_VERSION_OR_LABEL = r"(?:/versions/(\d+)|/labels/([^/:]+))?"
_FLAGS = re.ASCII | re.IGNORECASE
_API_PATH = re.compile(r"/v1/.*", _FLAGS)
_PREDICTION_PATH = re.compile(rf"/v1/models/([^/:]+){_VERSION_OR_LABEL}:(classify|regress|predict)", _FLAGS)
_MODEL_PATH = re.compile(rf"/v1/models(?:/([^/:]+))?{_VERSION_OR_LABEL}(?:/(metadata))?", _FLAGS)
# A target with other characters does not get as far as TensorFlow Serving's handler.
_CHARACTER = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})"
_TAIL = rf"(?:{_CHARACTER}|\?)*"
_URI = re.compile(rf"(?:https?://[^/?#]*)?({_CHARACTER}*)((?:\?{_TAIL})?(?:#{_TAIL})?)", _FLAGS)
_CACHED_TARGET_LENGTH = 256


class Api(enum.Enum):
    """What a path and a method ask for."""

    CLASSIFY = "Classify"
    REGRESS = "Regress"
    PREDICT = "Predict"
    STATUS = "GetModelStatus"
    METADATA = "GetModelMetadata"
    # Below /v1/, but nothing that is there.
    MALFORMED = "malformed"
    # A model's version that is no int64.
    BAD_VERSION = "bad version"
    # Not below /v1/.
    ELSEWHERE = "elsewhere"
    BAD_URI = "bad URI"


# What TensorFlow Serving's handler does not get to see.
OUTSIDE = frozenset({Api.ELSEWHERE, Api.BAD_URI})
MODEL_APIS = frozenset({Api.CLASSIFY, Api.REGRESS, Api.PREDICT, Api.STATUS, Api.METADATA})


class Route(NamedTuple):
    """`path` is without, `full_path` with the query, which TensorFlow Serving takes for part of its paths."""

    api: Api
    path: str
    full_path: str
    target: ModelTarget = ModelTarget("")


# Only the exact lower-case words lead somewhere, though the patterns take any case.
_PREDICTION_APIS = {"classify": Api.CLASSIFY, "regress": Api.REGRESS, "predict": Api.PREDICT}


def find_route(method: str, request_target: str) -> Route:
    """Where a request goes; clients repeat themselves, so short ones are remembered."""
    if len(request_target) > _CACHED_TARGET_LENGTH:
        return _find(method, request_target)
    return _find_cached(method, request_target)


def _find(method: str, request_target: str) -> Route:
    uri = _URI.fullmatch(request_target)
    if uri is None:
        return Route(Api.BAD_URI, request_target, request_target)
    path, full_path = uri[1], uri[1] + uri[2]
    if not _API_PATH.fullmatch(full_path):
        return Route(Api.ELSEWHERE, path, full_path)
    if method == "POST" and (match := _PREDICTION_PATH.fullmatch(full_path)):
        api = _PREDICTION_APIS.get(match[4], Api.MALFORMED)
    elif method == "GET" and (match := _MODEL_PATH.fullmatch(full_path)):
        api = Api.METADATA if match[4] == "metadata" else Api.STATUS
    else:
        return Route(Api.MALFORMED, path, full_path)
    name, version, label = unquote(match[1] or ""), match[2], match[3]
    if version is not None and not _is_int64(version):
        return Route(Api.BAD_VERSION, path, full_path, ModelTarget(name))
    target = ModelTarget(
        name,
        version=int(version) if version is not None else None,
        label=unquote(label) if label is not None else None,
    )
    return Route(api, path, full_path, target)


def _is_int64(digits: str) -> bool:
    return len(digits) <= len(str(_MAX_VERSION)) and int(digits) <= _MAX_VERSION


_find_cached = functools.lru_cache(maxsize=1024)(_find)
