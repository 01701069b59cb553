"""One client's connection: its socket, the requests read from it and the reply still to be sent."""

from __future__ import annotations

import contextlib
import socket
import struct

from vitrine_serving.embedded.rest.http.messages import Request, Response, encode_head
from vitrine_serving.embedded.rest.http.request_reader import RequestReader
from vitrine_serving.embedded.rest.options import RestOptions

# Bodies up to here are copied behind their head: one buffer is cheaper to send than two.
_JOIN_BYTES = 32 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Connection:
    """Belongs to the one worker that got its event, until that arms it again.

    Only `deadline`, `idle` and `expire` are for the housekeeping thread.
    """

    __slots__ = ("_socket", "closing", "deadline", "expired", "fd", "linger_until", "lingering", "output", "reader")

    def __init__(self, accepted: socket.socket, peer: str, options: RestOptions) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = accepted
        # What the client has not taken yet.
        self.output: list[memoryview] = []
        self.fd = accepted.fileno()
        self.reader = RequestReader(peer, options.max_header_bytes, options.max_request_bytes)
        # When, in time.monotonic(), patience ends; None while a worker has the connection.
        self.deadline: float | None = None
        self.expired = False
        # The last reply is on its way.
        self.closing = False
        # The client may still be sending, until when (in time.monotonic()) it is listened to.
        self.lingering = False
        self.linger_until: float | None = None

    @property
    def idle(self) -> bool:
        """Armed, and no request or reply half-way."""
        return self.deadline is not None and self.reader.begun is None and not self.output

    def receive(self, buffer: memoryview) -> int | None:
        """How many bytes were read into `buffer`: 0 at the end, None when there are none for now."""
        try:
            return self._socket.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return None

    def reply(self, request: Request, response: Response, stopping: bool) -> None:
        """Start to send the answer to `request`."""
        keep_alive = request.keep_alive and not response.close and not stopping
        self.closing = not keep_alive
        self.lingering = response.close
        head = encode_head(response, keep_alive, request.old_http)
        self._send(head, b"" if request.method == "HEAD" else response.body)

    def refuse(self, refusal: Response) -> None:
        """Start to send the answer to what is no whole request; it is the last."""
        self.closing = self.lingering = True
        self._send(encode_head(refusal, keep_alive=False), refusal.body)

    def invite_body(self) -> None:
        """Tell a client that waits for it to go on."""
        self.reader.expects_continue = False
        self._send(b"HTTP/1.1 100 Continue\r\n\r\n", b"")

    def flush(self) -> bool:
        """Send on; whether all is sent."""
        while self.output:
            try:
                sent = self._socket.sendmsg(self.output)
            except (BlockingIOError, InterruptedError):
                return False
            while self.output and sent >= len(self.output[0]):
                sent -= len(self.output.pop(0))
            if self.output:
                self.output[0] = self.output[0][sent:]
        return True

    def finish_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def expire(self) -> None:
        """Wake the worker that will close the connection: its event is the end of the stream."""
        self.expired = True
        if self.output:
            # Waiting to write, one hears of nothing less than both directions.
            self.cut()
            return
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """Let nothing more through, either way."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        if self.output:
            # What the client did not take must not stay in the kernel.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()
        self.reader.release()

    def _send(self, head: bytes, body: bytes) -> None:
        if len(body) > _JOIN_BYTES:
            self.output = [memoryview(head), memoryview(body)]
            return
        data = head + body
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent < len(data):
            self.output = [memoryview(data)[sent:]]
