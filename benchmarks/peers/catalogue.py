"""Which servers are measured beside ours, and what each is asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

_REPOSITORY = Path(__file__).parents[2]
_BOUNDARY = "a-picture-of-the-benchmark"


@dataclass(frozen=True)
class Body:
    """One picture as a server takes it in a POST."""

    content: bytes
    content_type: str


@dataclass(frozen=True)
class Peer:
    """A server beside ours.

    Attributes:
        name: as its makers write it.
        package: its distribution, of which `version` is installed.
        program: the module in programs/ that serves the model with it.
        how: the way its documentation advises, in a sentence.
        path: what a picture is posted to.
        body: a picture in the format that costs this server least.
        label: the label in the body of an answer; ValueError, LookupError or TypeError where there is none.
    """

    name: str
    package: str
    version: str
    program: str
    how: str
    path: str
    body: Callable[[bytes], Body]
    label: Callable[[bytes], str]

    @property
    def requirements(self) -> Path:
        """The locked, hashed requirements of its environment."""
        return _REPOSITORY / "requirements" / f"peers-{self.package}.txt"

    @property
    def program_file(self) -> Path:
        return Path(__file__).parent / "programs" / f"{self.program}.py"


def _raw(picture: bytes) -> Body:
    return Body(picture, "image/jpeg")


def _form(picture: bytes) -> Body:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="request"; filename="picture.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    content = head.encode() + picture + f"\r\n--{_BOUNDARY}--\r\n".encode()
    return Body(content, f"multipart/form-data; boundary={_BOUNDARY}")


def _base64_list(picture: bytes) -> Body:
    return _json({"pictures": [base64.b64encode(picture).decode()]})


def _open_inference(picture: bytes) -> Body:
    """The Open Inference Protocol's (V2's) request; the content type names MLServer's codec."""
    tensor = {
        "name": "image_bytes",
        "shape": [1, 1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(picture).decode()],
    }
    return _json({"inputs": [tensor]})


def _json(value: object) -> Body:
    return Body(json.dumps(value).encode(), "application/json")


def _label(found: object) -> str:
    if not isinstance(found, str) or not found:
        raise ValueError(f"not a label: {found!r}")
    return found


_ALL = (
    Peer(
        name="BentoML",
        package="bentoml",
        version="1.4.39",
        program="bentoml_service",
        how="a worker process on each core, pictures as base64 in JSON; adaptive batching is off by default",
        path="/classify",
        body=_base64_list,
        label=lambda answer: _label(json.loads(answer)[0]),
    ),
    Peer(
        name="LitServe",
        package="litserve",
        version="0.2.19",
        program="litserve_server",
        how="a worker process on each core behind as many HTTP servers, ZeroMQ between them, pictures as files of a "
        "form; batching is off by default",
        path="/predict",
        body=_form,
        label=lambda answer: _label(json.loads(answer)["label"]),
    ),
    Peer(
        name="Ray Serve",
        package="ray",
        version="2.60.0",
        program="ray_app",
        how="HAProxy, the flags for throughput, a replica on each core, `serve.batch`, pictures as they are",
        path="/classify",
        body=_raw,
        label=lambda answer: _label(answer.decode()),
    ),
    Peer(
        name="MLServer",
        package="mlserver",
        version="1.7.1",
        program="mlserver_runtime",
        how="a pool with a worker process on each core, the Open Inference Protocol with pictures as base64 in JSON; "
        "adaptive batching is off by default",
        path="/v2/models/model/infer",
        body=_open_inference,
        label=lambda answer: _label(json.loads(answer)["outputs"][0]["data"][0]),
    ),
)
PEERS: Mapping[str, Peer] = MappingProxyType({peer.name: peer for peer in _ALL})
