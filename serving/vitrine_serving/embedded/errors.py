"""The one error the server raises, and what each transport calls it."""

from __future__ import annotations

import enum
from http import HTTPStatus


class Code(enum.IntEnum):
    """Canonical status codes, numbered as in gRPC and TensorFlow."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http_status(self) -> int:
        """The HTTP status TensorFlow Serving answers this code with."""
        return _HTTP_STATUS.get(self, HTTPStatus.INTERNAL_SERVER_ERROR)


# 499 is nginx's "client closed request"; Python's HTTPStatus does not name it.
_HTTP_STATUS: dict[Code, int] = {
    Code.OK: HTTPStatus.OK,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    Code.ABORTED: HTTPStatus.CONFLICT,
    Code.OUT_OF_RANGE: HTTPStatus.BAD_REQUEST,
    Code.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Code.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}


class ServingError(Exception):
    """A request or a load that failed, with the reason a client is told.

    `version` is the model's version that the request had reached, if any: a label, or no word about it, may have
    been all that the request said.
    """

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.version: int | None = None

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"

    def untraced(self) -> ServingError:
        """The same to a client, without the traceback that would keep the frames it went through in memory."""
        copy = ServingError(self.code, self.message)
        copy.version = self.version
        return copy


class SignatureNotFoundError(ServingError):
    """The model has no signature of that name."""

    def __init__(self, signature_name: str) -> None:
        super().__init__(Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.')
        self.signature_name = signature_name


def invalid_argument(message: str) -> ServingError:
    return ServingError(Code.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    return ServingError(Code.NOT_FOUND, message)


def internal_error() -> ServingError:
    """For a failure that is ours: the details are for the log and not for the client."""
    return ServingError(Code.INTERNAL, "Internal server error; see the server's log")
