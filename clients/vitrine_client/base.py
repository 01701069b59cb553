"""What all blocking clients share: checked arguments, classification, waiting, life cycle."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitrine_client import classification, tensors
from vitrine_client.errors import (
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    Overloaded,
    Unavailable,
    VitrineError,
    located,
)
from vitrine_client.images import ImageLike, encode_images
from vitrine_client.results import Metadata, ModelStatus, Prediction, TensorInfo

if TYPE_CHECKING:
    from typing_extensions import Self

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
_LONGEST_TIMEOUT = 365 * 24 * 3600


class Client(ABC):
    """One model on one server. Use it as a context manager, or `close()` it; it may be used by several threads.

    Every method raises the errors of `vitrine_client.errors`, and RuntimeError once the client is closed.
    """

    def __init__(self, address: str, transport: str, *, model: str, version: int | None, timeout: float) -> None:
        if not isinstance(model, str) or not model or not _is_text(model):
            raise InvalidInput(f"model={model!r}: give the name that the server knows the model by")
        _check_version(version)
        _check_timeout(timeout)
        self._server = f"{address} ({transport})"
        self._model = model
        self._version = None if version is None else int(version)
        self._timeout = timeout
        self._closed = False

    def classify(self, images: Iterable[ImageLike], signature_name: str = "serving_default") -> list[Prediction]:
        """What the model sees in each picture, in one request.

        Args:
            images: paths, bytes of image files, PIL images or uint8 arrays (H, W), (H, W, 1), (H, W, 3).
            signature_name: a signature with `image_bytes` in, `labels` and `scores` out.

        Raises:
            InvalidInput: a picture that cannot be read or decoded. Nothing is sent where this shows beforehand.
        """
        signature_name = _checked_signature(signature_name)
        pictures = encode_images(images)
        inputs = {classification.INPUT: tensors.as_array(pictures, classification.INPUT)}
        with self._call("classify", self._version):
            outputs = self._predict(inputs, signature_name, classification.OUTPUTS)
            return classification.predictions_of(outputs, len(pictures))

    def predict(
        self, inputs: Mapping[str, ArrayLike], signature_name: str = "serving_default"
    ) -> dict[str, NDArray[Any]]:
        """Any signature's outputs by name, as numpy arrays.

        Args:
            inputs: array-likes by input name. numpy arrays keep their dtype; Python numbers become float32 or int32.
                Strings are `bytes` or `str`.

        Returns:
            Arrays with the model's dtypes; strings are object arrays of `bytes`, bfloat16 becomes float32.
        """
        if not isinstance(inputs, Mapping) or not inputs:
            raise InvalidInput('inputs: give a dict of arrays by input name, such as {"image_bytes": [...]}')
        signature_name = _checked_signature(signature_name)
        for name in inputs:
            if not isinstance(name, str) or not _is_text(name):
                raise InvalidInput(f"inputs: {name!r} where the name of an input belongs")
        arrays = {name: tensors.as_array(values, f"inputs[{name!r}]") for name, values in inputs.items()}
        with self._call("predict", self._version):
            return self._predict(arrays, signature_name, None)

    def status(self) -> ModelStatus:
        """The state of the model's versions; of one version, where the client is for one."""
        with self._call("status", self._version):
            return self._status(self._version, self._timeout)

    def metadata(self) -> Metadata:
        """The signatures of the client's version, or of the highest loaded one."""
        with self._call("metadata", self._version):
            return self._metadata()

    def wait_until_available(self, version: int | None = None, timeout: float = 60.0) -> int:
        """Waits until a version answers requests and returns its number.

        Args:
            version: the version to wait for; the client's own, or else any, if None.
            timeout: seconds. A server that is not there yet is waited for, too.

        Raises:
            DeadlineExceeded: the message tells the last seen state, with the reason where loading failed.
        """
        _check_version(version)
        _check_timeout(timeout)
        wanted = self._version if version is None else version
        deadline = time.monotonic() + timeout
        seen, pause = "", _FIRST_PAUSE
        while True:
            try:
                with self._call("status", wanted):
                    status = self._status(wanted, min(self._timeout, max(deadline - time.monotonic(), pause)))
                if status.available:
                    return status.available[0]
                seen = "; ".join(str(version) for version in status.versions) or "no version"
            except (ModelNotFound, Overloaded, Unavailable) as error:
                seen = str(error)
            except DeadlineExceeded as error:
                # The last attempt is cut short by the deadline itself: what was seen before says more.
                seen = seen or str(error)
            if time.monotonic() + pause >= deadline:
                asked = self._asked(f"wait_until_available ({timeout:g} s)", wanted)
                raise located(DeadlineExceeded(f"last seen: {seen}"), asked)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    def close(self) -> None:
        """Closes the connections. Closing twice is harmless."""
        self._closed = True
        self._disconnect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _predict(
        self,
        inputs: Mapping[str, NDArray[Any]],
        signature_name: str,
        outputs: Mapping[str, TensorInfo] | None,
    ) -> dict[str, NDArray[Any]]:
        """One prediction. `outputs` is what the caller knows of them, for a transport that does not carry dtypes."""

    @abstractmethod
    def _status(self, version: int | None, timeout: float) -> ModelStatus: ...

    @abstractmethod
    def _metadata(self) -> Metadata: ...

    @abstractmethod
    def _disconnect(self) -> None: ...

    def _asked(self, method: str, version: int | None) -> str:
        number = "" if version is None else f" version {version}"
        return f"{method} of model {self._model!r}{number} at {self._server}"

    @contextmanager
    def _call(self, method: str, version: int | None) -> Iterator[None]:
        """Adds to any error inside what was asked, and of whom."""
        if self._closed:
            raise RuntimeError("the client is closed: open another one")
        try:
            yield
        except VitrineError as error:
            raise located(error, self._asked(method, version)) from error.__cause__


def _checked_signature(name: str) -> str:
    if not isinstance(name, str) or not _is_text(name):
        raise InvalidInput(f"signature_name={name!r}: give the name of a signature")
    # What the server takes an empty name for; REST's answers are looked up by it.
    return name or "serving_default"


def _is_text(value: str) -> bool:
    """Whether a string can be sent: half a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _check_version(version: int | None) -> None:
    whole = isinstance(version, (int, np.integer)) and not isinstance(version, bool)
    if version is not None and not (whole and 0 <= version < 2**63):
        raise InvalidInput(f"version={version!r}: give a whole number from 0, or None for the highest loaded one")


def _check_timeout(timeout: float) -> None:
    if not isinstance(timeout, (int, float)) or not 0 < timeout <= _LONGEST_TIMEOUT:
        raise InvalidInput(f"timeout={timeout!r}: give seconds above 0, at most a year")
