"""What can go wrong, the same for gRPC and REST.

    VitrineError
      ModelNotFound      no such model, or no such version of it
      InvalidInput       the request is at fault: picture, tensor, signature name, argument
      DeadlineExceeded   no answer in time
      Unavailable        nothing answers at the address, or it cannot answer now
      Overloaded         the server refuses more work for the moment
      ServerError        the server failed, or refuses this caller
      BadResponse        the answer is not what TensorFlow Serving's API promises

Every message says what was asked, of whom, and what the server said; `server_message` holds the last part alone.

How statuses become errors:

- A wrong signature name is `InvalidInput`, although TensorFlow Serving's gRPC calls it FAILED_PRECONDITION. Any other
  FAILED_PRECONDITION is a model that cannot run, so `ServerError`. REST has one status, 400, for both and for bad
  input: over REST all of these are `InvalidInput`.
- CANCELLED, and HTTP's 499, mean that a connection went away before the answer: `Unavailable`.
- Refused credentials are `ServerError`.
"""

from __future__ import annotations

import re

import grpc

_NODES = re.compile(r"\s*\[\[\{\{[^\]]*\]\]")


class VitrineError(Exception):
    """Base of all errors of this package.

    Attributes:
        summary: what kind of failure this is, in a few words.
        reason: what is wrong, without what was asked and of whom.
        server_message: the server's own words (or, where no server answered, the transport's); "" if there are none.
        request_id: the `x-request-id` that went along; "" where nothing was sent.
        positions: which of the pictures given are at fault, from 0, as far as that is known.
    """

    summary = "failed"
    request_id = ""
    positions: tuple[int, ...] = ()

    def __init__(self, message: str, server_message: str = "") -> None:
        super().__init__(message)
        self.reason = message
        self.server_message = server_message


class ModelNotFound(VitrineError):
    """The server has no such model, or no such version of it."""

    summary = "no such model or version"


class InvalidInput(VitrineError):
    """The request is at fault: a picture, a tensor, a signature name, an argument."""

    summary = "the input was refused"


class DeadlineExceeded(VitrineError):
    """No answer in time."""

    summary = "no answer in time"


class Unavailable(VitrineError):
    """Nothing answers at the address, or it cannot answer now."""

    summary = "cannot be reached or cannot answer now"


class Overloaded(VitrineError):
    """The server refuses more work for the moment."""

    summary = "the server is overloaded"


class ServerError(VitrineError):
    """The server failed, or refuses this caller."""

    summary = "the server failed or refused"


class BadResponse(VitrineError):
    """The answer is not what TensorFlow Serving's API promises."""

    summary = "unusable answer"


_BY_GRPC_STATUS: dict[grpc.StatusCode, type[VitrineError]] = {
    grpc.StatusCode.CANCELLED: Unavailable,
    grpc.StatusCode.UNKNOWN: ServerError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.ALREADY_EXISTS: ServerError,
    grpc.StatusCode.PERMISSION_DENIED: ServerError,
    grpc.StatusCode.UNAUTHENTICATED: ServerError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.FAILED_PRECONDITION: ServerError,
    grpc.StatusCode.ABORTED: ServerError,
    grpc.StatusCode.UNIMPLEMENTED: ServerError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidInput,
    grpc.StatusCode.INTERNAL: ServerError,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DATA_LOSS: ServerError,
}

_BY_HTTP_STATUS: dict[int, type[VitrineError]] = {
    400: InvalidInput,
    404: ModelNotFound,
    408: DeadlineExceeded,
    411: InvalidInput,
    413: InvalidInput,
    414: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: Overloaded,
    499: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: DeadlineExceeded,
}


def error_of_grpc_status(code: grpc.StatusCode, message: str) -> type[VitrineError]:
    """The error that a failed gRPC call stands for; `message` is the server's."""
    if code is grpc.StatusCode.FAILED_PRECONDITION and names_missing_signature(message):
        return InvalidInput
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in message:
        # gRPC's word for a message over a server's limit, as 413 is HTTP's.
        return InvalidInput
    return _BY_GRPC_STATUS[code]


def error_of_http_status(status: int) -> type[VitrineError]:
    """The error that an HTTP status other than success stands for."""
    if status < 400:
        return BadResponse
    return _BY_HTTP_STATUS.get(status, ServerError)


def located(error: VitrineError, asked: str, advice: str = "") -> VitrineError:
    """The same error, its message beginning with what was asked (method, model, version) and of whom."""
    reason = f": {error}" if str(error) else ""
    told = type(error)(f"{asked}: {error.summary}{reason}{advice and f' ({advice})'}", error.server_message)
    told.reason = error.reason
    told.positions = error.positions
    told.request_id = error.request_id
    return told


def one_line(said: str) -> str:
    """A server's message for people: TensorFlow's go over several lines, and end with the names of its nodes."""
    return " ".join(_NODES.sub("", said).split())


def names_missing_signature(message: str) -> bool:
    """Whether a server's message says that it has no signature of the name asked for."""
    # "Serving signature key "x" not found." or "Serving signature name: "x" not found in signature def": the wording
    # differs between versions.
    # "output tensor alias not found in signature: y" is about an output.
    return "signature" in message.lower() and "not found" in message and "alias" not in message
