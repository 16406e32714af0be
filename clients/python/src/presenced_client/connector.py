"""One task that keeps a session connected, with the `websockets` library."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol

from presenced_client.changes import ChangeStream
from presenced_client.connection import State
from presenced_client.errors import PresenceError
from presenced_client.presence import Change
from presenced_client.retry import Again, Final, Retry
from presenced_client.session import Session
from presenced_client.token import Tokens, fits_into_header
from presenced_client.url import connection_url

T = TypeVar("T")

logger = logging.getLogger("presenced_client")
"""DEBUG logs every message, without tokens. WARNING logs refusals, and servers that cannot be reached."""

SUBPROTOCOL = Subprotocol("presenced.v1")

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
"""Largest message that is read. A page of 500 users with all their data has less than 3 MiB."""

OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
"""Seconds in which the server can answer the close frame. The block ends after that in any case."""

RENEWAL_TIMEOUT_S = 5.0
"""Seconds in which the token function must answer while the connection is open, because nothing is read meanwhile."""

RENEWAL_PAUSE_S = 5.0
"""Seconds before a token function that failed is called again. The server asks a minute before the token expires."""


SIGNED_OUT = PresenceError("SIGNED_OUT", "the token function returned None")


class Connector:
    """Connects, and connects again, until it is stopped or the server refuses for good.

    Args:
        identity: Parameters of the URL that stay the same.
        options: Further arguments for `websockets`.
    """

    def __init__(
        self, session: Session, address: str, identity: Mapping[str, str], tokens: Tokens, options: Mapping[str, Any]
    ) -> None:
        self.session = session
        self.state: State = "idle"
        self.since = time.time()
        self.error: PresenceError | None = None
        self.retry_at = 0.0
        self.socket: ClientConnection | None = None
        self.streams: set[ChangeStream] = set()
        self.decisions = Retry(random.random, tokens.can_renew)
        self._address = address
        self._identity = identity
        self._tokens = tokens
        self._options = options
        self._waiters: set[asyncio.Future[None]] = set()
        self._renew_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._owner: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._timer: asyncio.Timeout | None = None
        """Deadline of what the task waits for. `wake` moves it to now."""

    def start(self) -> None:
        """Start the task. The current task is its owner, which is cancelled if the server refuses for good."""
        if self._task is not None:
            raise RuntimeError("this client is running already; create another one")
        self._failure, self._owner = None, asyncio.current_task()
        self.session.server_offset_ms = (time.time() - now()) * 1000  # until the server has sent its time
        self._task = asyncio.create_task(self._run(), name="presenced_client")
        self._task.add_done_callback(self._ended)

    async def stop(self, error: BaseException | None) -> None:
        """Disconnect deliberately, and end the task.

        Args:
            error: Exception of the owner's block.

        Raises:
            PresenceError: The server had refused for good, and nothing else ends the block.
        """
        task, self._task = self._task, None
        if task is None:
            return
        task.remove_done_callback(self._ended)
        task.cancel()
        await asyncio.wait([task])
        if self._failure is None:
            self._set_state("closed")
            self._notify([])
        # As asyncio.timeout does: the cancellation that `_ended` requested becomes the error, but another one stays.
        elif self._owner is not None:
            others = self._owner.uncancel()
            if error is None or (isinstance(error, asyncio.CancelledError) and not others):
                raise self._failure from None

    def wake(self) -> None:
        """Send what has changed in the session. All changes of one turn of the loop become one request."""
        if self._timer is not None and not self._timer.expired():
            self._timer.reschedule(now())

    async def wait_for(self, condition: Callable[[], T | None]) -> T:
        """Wait until the condition holds, and return its result. It is called after each message and change."""
        while not (result := condition()):
            if self._failure is not None:
                raise self._failure
            if self._task is None:
                raise RuntimeError("the client is not running: use it inside its `async with`")
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)
        return result

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Cancel the owner, because the task has failed. It never ends otherwise."""
        failure = None if task.cancelled() else task.exception()
        self._failure = failure or RuntimeError("something else cancelled the task of the client")
        self.error = failure if isinstance(failure, PresenceError) else None
        self._set_state("closed" if self.error and self.error.code == "SIGNED_OUT" else "failed")
        self._notify([])
        if self._owner is not None:
            self._owner.cancel()

    async def _run(self) -> None:
        while True:
            self._set_state("connecting")
            decision = await self._attempt()
            self.session.lost(now())
            if isinstance(decision, Final):
                raise decision.error
            if decision.new_session:
                self.session.forget_session()
            if decision.fresh_token:
                self._tokens.forget()
            self.error = decision.error
            level = logging.WARNING if decision.error.code == "UNREACHABLE" else logging.INFO
            logger.log(level, "%s; next attempt in %.1f s", decision.error, decision.delay)
            self.retry_at = now() + decision.delay
            self._set_state("waiting")
            self._notify([])
            while now() < self.retry_at:
                await self._wait(asyncio.get_running_loop().create_future, self.retry_at)

    async def _attempt(self) -> Again | Final:
        """Connect once, and stay connected. Return what to do after the end."""
        try:
            token = await self._tokens.get()
        except Exception as error:  # the program's own function, which may raise anything
            wrapped = PresenceError("TOKEN_FAILED", f"the token function raised {error!r}", retryable=True)
            return self.decisions.failed(wrapped, now())
        if token is None:
            return Final(SIGNED_OUT)
        try:
            self.socket = await self._open(token)
        except InvalidStatus as error:
            refused, retry_after = _refused(error.response)
            return self.decisions.failed(refused, now(), retry_after)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            lost = PresenceError("CONNECTION_LOST", str(error) or type(error).__name__, retryable=True)
            return self.decisions.failed(lost, now())
        try:
            return await self._stay(self.socket, token)
        finally:
            socket, self.socket = self.socket, None
            await socket.close()

    async def _open(self, token: str) -> ClientConnection:
        headers = {"Authorization": f"Bearer {token}"} if token and fits_into_header(token) else None
        return await open_websocket(
            connection_url(self._address, self._identity, self.session.parameters(now())),
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            **self._options,
        )

    async def _stay(self, socket: ClientConnection, token: str) -> Again | Final:
        try:
            if not fits_into_header(token):
                await socket.send(json.dumps({"type": "AUTH", "token": token}))
            await self._serve(socket)
        except ConnectionClosed as error:
            code, reason = (error.rcvd.code, error.rcvd.reason) if error.rcvd else (1006, "")
            retry_after, self.session.retry_after = self.session.retry_after, None
            return self.decisions.closed(code, reason, now(), retry_after)
        return Final(SIGNED_OUT)

    async def _serve(self, socket: ClientConnection) -> None:
        """Send and receive until the connection ends, which raises, or the user is signed out."""
        while True:
            was_caught_up = self.session.is_caught_up
            while requests := self.session.outgoing(now()):
                for request in requests:
                    logger.debug("sent %s", "AUTH" if request["type"] == "AUTH" else request)
                    await socket.send(json.dumps(request))
            if self.session.is_caught_up and not was_caught_up:  # nothing was left to request
                self._notify([])
            renew_at = self._renew_at if self.session.token_expires else None
            if renew_at is None or now() < renew_at:
                self._received(await self._wait(socket.recv, renew_at))
            elif not await self._renew_token():
                return

    def _received(self, text: str | bytes | None) -> None:
        if not isinstance(text, str):
            return  # something else is due; the server sends no binary messages
        logger.debug("received %s", text)
        was_open = self.session.is_established
        changes = self.session.received(json.loads(text), now())
        if self.session.is_established and not was_open:
            self.decisions.opened(now())
            self.error = None
            self._set_state("open")
        for error in self.session.take_errors():
            logger.warning("%s", error)
        self._notify(changes)

    async def _renew_token(self) -> bool:
        """Send a newer token. Return whether the user is still signed in.

        If the function fails, it is called again while the old token is valid.
        """
        self._renew_at = now() + RENEWAL_PAUSE_S
        if not self._tokens.can_renew:
            self.session.token_expires = False  # the server closes with 4401, which is final for a fixed token
            return True
        self._tokens.forget()
        try:
            async with asyncio.timeout(RENEWAL_TIMEOUT_S):
                token = await self._tokens.get()
        except Exception as error:  # the program's own function, which may raise anything
            logger.warning("the token function raised %r", error)
            return True
        self._renew_at = 0.0
        if token is not None:
            self.session.authenticate(token)
        return token is not None

    async def _wait(self, action: Callable[[], Any], deadline: float | None = None) -> Any:
        """Return the result of `action`; None if something is due or wanted before."""
        due = [at for at in (deadline, self.session.next_at(now())) if at is not None]
        try:
            async with asyncio.timeout_at(min(due, default=None)) as self._timer:
                return await action()
        except TimeoutError:
            self._notify(self.session.tick(now()))
            return None
        finally:
            self._timer = None

    def _notify(self, changes: list[Change]) -> None:
        for stream in self.streams:
            stream.add(changes)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _set_state(self, state: State) -> None:
        self.state, self.since = state, time.time()


def now() -> float:
    """Return the time of the running loop, in monotonic seconds."""
    return asyncio.get_running_loop().time()


def _refused(response: Response) -> tuple[PresenceError, float]:
    """Return the error for a refused handshake, and the seconds to wait before the next one."""
    try:
        body = json.loads(response.body or b"{}")
    except ValueError:
        body = {}
    seconds = response.headers.get("Retry-After", "")
    return PresenceError.from_problem(response.status_code, body), float(seconds) if seconds.isdigit() else 0.0
