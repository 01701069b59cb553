"""The interface of the clients that wait for their answers: `GrpcClient` and `RestClient`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitrine_client import bulk
from vitrine_client.base import ClientBase, classify_task, features_task
from vitrine_client.errors import InvalidInput, VitrineError
from vitrine_client.images import Check, ImageLike, ImageOptions, picture_list
from vitrine_client.pictures import OnError, check_on_error
from vitrine_client.results import Metadata, ModelStatus, Prediction
from vitrine_client.running import run
from vitrine_client.steps import Request, Steps

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from vitrine_client.call_options import PictureOptions

_Result = TypeVar("_Result")


class Client(ClientBase, ABC):
    """A model on a server. Use it as a context manager, or `close()` it; it may be used by several threads.

    Every method raises the errors of `vitrine_client.errors`, and RuntimeError once the client is closed. Every method
    that asks the server takes, besides its own arguments:

        version, label: the version to ask, by number or by label, in place of the client's.
        timeout: seconds for the whole call with all its retries and parts, in place of the client's.
        headers: texts by name that go along with this call, such as `traceparent`; `x-request-id` is made up where it
            is not given, and is the error's `request_id`.
    """

    @overload
    def classify(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[PictureOptions],
    ) -> list[Prediction]: ...

    @overload
    def classify(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        on_error: OnError,
        **options: Unpack[PictureOptions],
    ) -> list[Prediction | InvalidInput]: ...

    def classify(
        self,
        images: Iterable[ImageLike],
        signature_name: str = "serving_default",
        *,
        on_error: OnError = "raise",
        max_side: int | None = None,
        allow_urls: bool = False,
        check: Check = "auto",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """What the model sees in each picture, in one request, or in several where the server allows no such batch.

        Args:
            images: paths, bytes of image files, binary files, PIL images or uint8 arrays (H, W), (H, W, 1), (H, W, 3).
                A picture that its EXIF data turns is sent upright.
            signature_name: a signature with `image_bytes` in, `labels` and `scores` out.
            on_error: what becomes of a picture that is at fault: "raise" raises InvalidInput, "skip" leaves it out,
                "return" puts its InvalidInput in its place.
            max_side: pixels; a larger picture is made this small before it is sent, as a JPEG of quality 90.
            allow_urls: fetch texts that begin with http:// or https://. Do not allow it for texts from strangers: what
                they name is fetched from inside your network.
            check: how closely pictures are looked at before anything is sent. "quick" looks at their structure, which
                takes microseconds and misses what is broken inside; "full" decodes them; "auto" does so where several
                share a request, since one broken picture fails all of them; "off" sends whatever bytes it is given,
                unturned, for models that decode formats of their own.

        Returns:
            One prediction for each picture, in order.

        Raises:
            InvalidInput: a picture that cannot be read or decoded; `positions` tells which.
        """
        check_on_error(on_error)
        options = ImageOptions(max_side, allow_urls, check)
        call = self._begin(version, label, timeout, headers)
        task = classify_task(signature_name)
        return self._run(self._pictures("classify", call, images, task, options, on_error=on_error))

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        batch_size: int = ...,
        in_flight: int = ...,
        progress: bulk.Progress | None = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[PictureOptions],
    ) -> Iterator[Prediction]: ...

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        batch_size: int = ...,
        in_flight: int = ...,
        progress: bulk.Progress | None = ...,
        on_error: OnError,
        **options: Unpack[PictureOptions],
    ) -> Iterator[Prediction | VitrineError]: ...

    def classify_many(
        self,
        images: Iterable[ImageLike],
        signature_name: str = "serving_default",
        *,
        batch_size: int = 1,
        in_flight: int = 8,
        on_error: OnError = "raise",
        progress: bulk.Progress | None = None,
        max_side: int | None = None,
        allow_urls: bool = False,
        check: Check = "auto",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[Any]:
        """`classify` for thousands of pictures: a few requests at a time, predictions in order, memory flat.

        Args:
            images: as for `classify`; a generator is read as the answers are.
            batch_size: pictures in one request. With one, a broken picture costs nobody else anything.
            in_flight: requests under way at once.
            on_error: "skip" and "return" also go on after a request that failed for another reason, unless no other
                would fare better: the model or signature is not there, the server cannot be reached, or it has not
                given a single answer yet and fails for another reason than time and load.
            progress: called with how many pictures are done, and of how many (None if `images` has no length).
            timeout: seconds for each request.
        """
        bulk.refuse_async(images)
        plan = bulk.Plan(batch_size, in_flight, on_error, progress, bulk.length(images))
        options = ImageOptions(max_side, allow_urls, check)
        task = classify_task(signature_name)
        # Wrong arguments are told now and not with the first answer.
        begin = partial(self._begin, version, label, timeout, headers)
        begin()
        pictures = picture_list(images)

        def work(batch: bulk.Batch) -> tuple[bulk.Batch, Any]:
            return self._run(self._batch(begin, batch, task, options, plan))

        def answers() -> Iterator[Any]:
            for batch, some in bulk.in_order(work, bulk.batches(pictures, plan.batch_size), plan.in_flight):
                yield from plan.kept(batch, some)

        return answers()

    def features(
        self,
        images: Iterable[ImageLike],
        signature_name: str = "features",
        *,
        max_side: int | None = None,
        allow_urls: bool = False,
        check: Check = "auto",
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> NDArray[np.floating[Any]]:
        """The layer before the classifier, for each picture: floats [N, D]. Arguments and errors are `classify`'s."""
        options = ImageOptions(max_side, allow_urls, check)
        call = self._begin(version, label, timeout, headers)
        return np.stack(self._run(self._pictures("features", call, images, features_task(signature_name), options)))

    def predict(
        self,
        inputs: Mapping[str, ArrayLike],
        signature_name: str = "serving_default",
        *,
        output_filter: Iterable[str] = (),
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Any signature's outputs by name, as numpy arrays.

        Args:
            inputs: array-likes by input name. numpy arrays keep their dtype; Python numbers become float32 or int32.
                Strings are `bytes` or `str`.
            output_filter: the outputs wanted; all, if empty. Over REST they are sorted out on arrival.

        Returns:
            Arrays with the model's dtypes; strings are object arrays of `bytes`, bfloat16 becomes float32.
        """
        call = self._begin(version, label, timeout, headers)
        return self._run(self._predict(call, inputs, signature_name, output_filter))

    def status(
        self,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ModelStatus:
        """The state of the model's versions; of one version, where the client or the call is for one."""
        return self._run(self._status(self._begin(version, label, timeout, headers)))

    def metadata(
        self,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Metadata:
        """The signatures of the version asked, or of the highest loaded one."""
        return self._run(self._metadata(self._begin(version, label, timeout, headers)))

    def models(
        self, *, timeout: float | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[ModelStatus, ...]:
        """The status of every model that the server has, by name.

        Raises:
            ServerError: the server has no such list, as TensorFlow Serving has none. The embedded server has it with
                `--rest_api_extensions` (REST) and `--enable_grpc_healthcheck_service` (gRPC).
        """
        return self._run(self._models(self._begin(timeout=timeout, headers=headers)))

    def wait_until_available(
        self, version: int | None = None, timeout: float = 60.0, *, label: str | None = None
    ) -> int:
        """Waits until a version answers requests and returns its number.

        Args:
            version, label: the version to wait for; the client's own, or else any, if None.
            timeout: seconds. A server that is not there yet is waited for, too.

        Raises:
            DeadlineExceeded: the message tells the last seen state, with the reason where loading failed.
        """
        return self._run(self._wait(self._begin(version, label, timeout)))

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
    def _answer(self, request: Request) -> Any:
        """The request's answer, as `steps` describes it. Raises VitrineError."""

    @abstractmethod
    def _disconnect(self) -> None: ...

    def _run(self, steps: Steps[_Result]) -> _Result:
        return run(steps, self._answer)
