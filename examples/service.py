"""An HTTP service in front of a model server: a picture goes in, labels come out.

VITRINE_GRPC=localhost:8500 VITRINE_MODEL=flowers python examples/service.py  # or uvicorn service:app
curl 'localhost:8000/classify?top=3' --data-binary @rose.jpg
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from vitrine_client import AsyncGrpcClient, DeadlineExceeded, InvalidInput, Overloaded, Unavailable, VitrineError

MAX_BYTES = 10 * 1024**2
PASSED_ON = ("x-request-id", "traceparent")
SENDABLE = re.compile("[!-~]{1,200}")  # gRPC sends ASCII alone, and refuses requests with very long headers.
STATUSES = {Overloaded: 429, Unavailable: 503, DeadlineExceeded: 504}  # Else 502: a 404 would be about /classify.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    target, model = os.environ.get("VITRINE_GRPC", "localhost:8500"), os.environ.get("VITRINE_MODEL", "digits")
    # Less than the callers wait, or nobody is there to hear of it.
    seconds = float(os.environ.get("VITRINE_TIMEOUT", "5"))
    async with AsyncGrpcClient(target, model=model, timeout=seconds) as client:
        yield {"client": client}


app = FastAPI(title="Picture classifier", lifespan=lifespan)


@app.post("/classify")
async def classify(request: Request, top: Annotated[int | None, Query(ge=1)] = None) -> JSONResponse:
    """What is in the picture in the body: its labels, best first, all that the model gives or the `top` best."""
    headers = passed_on(request)
    [prediction] = await request.state.client.classify([await body_of(request)], headers=headers)
    best = [{"label": label, "score": score} for label, score in prediction.top[:top]]
    answer = {"label": prediction.label, "score": prediction.score, "top": best}
    return JSONResponse(answer, headers={"x-request-id": headers["x-request-id"]})


@app.get("/healthz")
async def live() -> str:
    return "live"


@app.get("/readyz")
async def ready(request: Request) -> str:
    try:
        status = await request.state.client.status(timeout=1.0)
    except VitrineError as error:
        raise HTTPException(503, error.summary) from error
    if not status.available:
        raise HTTPException(503, "; ".join(map(str, status.versions)))
    return f"{status.model}, version {status.available[0]}"


@app.exception_handler(VitrineError)
async def failed(request: Request, error: VitrineError) -> JSONResponse:
    request_id = request.state.request_id
    logging.getLogger("uvicorn.error").warning("request %s: %s", request_id, error)
    # Invalid input without positions is no picture's fault. The whole message has the model server's address in it.
    ours = "this service asks its model wrongly" if isinstance(error, InvalidInput) else error.summary
    status, detail = (400, error.reason) if error.positions else (STATUSES.get(type(error), 502), ours)
    headers = {"x-request-id": request_id} | ({"Retry-After": "1"} if isinstance(error, Overloaded) else {})
    return JSONResponse({"detail": detail, "request_id": request_id}, status, headers)


def passed_on(request: Request) -> dict[str, str]:
    """What goes along to the model server: the caller's trace, and an id to find the request by in its log."""
    headers = {name: text for name, text in request.headers.items() if name in PASSED_ON and SENDABLE.fullmatch(text)}
    request.state.request_id = headers.setdefault("x-request-id", uuid.uuid4().hex)
    return headers


async def body_of(request: Request) -> bytearray:
    body = bytearray()
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BYTES:
                raise HTTPException(413, f"the picture is larger than {MAX_BYTES} bytes")
    except ClientDisconnect as error:
        raise HTTPException(400, "the caller hung up") from error
    return body


if __name__ == "__main__":
    uvicorn.run(app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", "8000")))
