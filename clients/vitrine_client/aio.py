"""The gRPC client for asyncio: the same methods, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vitrine_client import bulk, channel, grpc_messages
from vitrine_client.aio_channel import AsyncConnection
from vitrine_client.base import ClientBase, classify_task, features_task
from vitrine_client.errors import InvalidInput, VitrineError
from vitrine_client.images import Check, ImageLike, ImageOptions, picture_list
from vitrine_client.model_config import ModelConfig
from vitrine_client.pictures import OnError, check_on_error
from vitrine_client.results import Metadata, ModelStatus, Prediction
from vitrine_client.settings import TLS, Headers, Token

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from vitrine_client.call_options import PictureOptions


class AsyncGrpcClient(ClientBase):
    """`GrpcClient` for asyncio: the same arguments, methods and errors; every method is awaited.

    Use it with `async with`, or await `close()`. It connects with the first call and from then on belongs to that
    call's event loop. Pictures are read, checked and turned on a thread, so that the loop goes on.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        model: str,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        tls: TLS | None = None,
        token: Token | None = None,
        headers: Headers | None = None,
        max_batch_size: int | None = None,
    ) -> None:
        where = channel.target_of(target)
        super().__init__(
            f"{where.name} (gRPC)",
            model=model,
            version=version,
            label=label,
            timeout=timeout,
            retries=retries,
            token=token,
            headers=headers,
            max_batch_size=max_batch_size,
        )
        self._connection = AsyncConnection(channel.settings(where, tls, retries))

    @overload
    async def classify(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[PictureOptions],
    ) -> list[Prediction]: ...

    @overload
    async def classify(
        self,
        images: Iterable[ImageLike],
        signature_name: str = ...,
        *,
        on_error: OnError,
        **options: Unpack[PictureOptions],
    ) -> list[Prediction | InvalidInput]: ...

    async def classify(
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
        """What the model sees in each picture: see `Client.classify`."""
        check_on_error(on_error)
        options = ImageOptions(max_side, allow_urls, check)
        call = self._begin(version, label, timeout, headers)
        task = classify_task(signature_name)
        return await self._connection.run(self._pictures("classify", call, images, task, options, on_error=on_error))

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        signature_name: str = ...,
        *,
        batch_size: int = ...,
        in_flight: int = ...,
        progress: bulk.Progress | None = ...,
        on_error: Literal["raise", "skip"] = ...,
        **options: Unpack[PictureOptions],
    ) -> AsyncIterator[Prediction]: ...

    @overload
    def classify_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        signature_name: str = ...,
        *,
        batch_size: int = ...,
        in_flight: int = ...,
        progress: bulk.Progress | None = ...,
        on_error: OnError,
        **options: Unpack[PictureOptions],
    ) -> AsyncIterator[Prediction | VitrineError]: ...

    def classify_many(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
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
    ) -> AsyncIterator[Any]:
        """`classify` for thousands of pictures, `async for`: see `Client.classify_many`.

        `images` may be an asynchronous iterable, too.
        """
        plan = bulk.Plan(batch_size, in_flight, on_error, progress, bulk.length(images))
        options = ImageOptions(max_side, allow_urls, check)
        task = classify_task(signature_name)
        # Wrong arguments are told now and not with the first answer.
        begin = partial(self._begin, version, label, timeout, headers)
        begin()
        pictures = images if isinstance(images, AsyncIterable) else picture_list(images)

        async def work(batch: bulk.Batch) -> tuple[bulk.Batch, Any]:
            return await self._connection.run(self._batch(begin, batch, task, options, plan))

        async def answers() -> AsyncIterator[Any]:
            batches = bulk.batches_async(pictures, plan.batch_size)
            async with aclosing(bulk.in_order_async(work, batches, plan.in_flight)) as done:
                async for batch, some in done:
                    for answer in plan.kept(batch, some):
                        yield answer

        return answers()

    async def features(
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
        """The layer before the classifier, for each picture: floats [N, D]. See `Client.features`."""
        options = ImageOptions(max_side, allow_urls, check)
        call = self._begin(version, label, timeout, headers)
        task = features_task(signature_name)
        return np.stack(await self._connection.run(self._pictures("features", call, images, task, options)))

    async def predict(
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
        """Any signature's outputs by name, as numpy arrays: see `Client.predict`."""
        call = self._begin(version, label, timeout, headers)
        return await self._connection.run(self._predict(call, inputs, signature_name, output_filter))

    async def status(
        self,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ModelStatus:
        """The state of the model's versions: see `Client.status`."""
        return await self._connection.run(self._status(self._begin(version, label, timeout, headers)))

    async def metadata(
        self,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Metadata:
        """The signatures of the version asked, or of the highest loaded one."""
        return await self._connection.run(self._metadata(self._begin(version, label, timeout, headers)))

    async def models(
        self, *, timeout: float | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[ModelStatus, ...]:
        """The status of every model that the server has, by name: see `Client.models`."""
        return await self._connection.run(self._models(self._begin(timeout=timeout, headers=headers)))

    async def wait_until_available(
        self, version: int | None = None, timeout: float = 60.0, *, label: str | None = None
    ) -> int:
        """Waits until a version answers requests and returns its number: see `Client.wait_until_available`."""
        return await self._connection.run(self._wait(self._begin(version, label, timeout)))

    async def reload_config(
        self,
        models: Sequence[ModelConfig],
        *,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Has the server serve these models and no others: see `GrpcClient.reload_config`."""
        call = self._begin(timeout=timeout, headers=headers)
        await self._connection.run(self._reload(call, grpc_messages.checked_models(models)))

    async def close(self) -> None:
        """Closes the connections. Closing twice is harmless."""
        self._closed = True
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
