"""The client: one connection that comes back, driven by one task."""

from __future__ import annotations

import ssl as tls
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Self, TypeVar, get_args

from presenced_client.changes import ChangeStream
from presenced_client.connection import Connection
from presenced_client.connector import Connector, now
from presenced_client.errors import PresenceError
from presenced_client.membership import Membership
from presenced_client.presence import Change, UserId, UserPresence, user_key
from presenced_client.requested_state import EVERYONE
from presenced_client.self import Choice, ChoiceStatus
from presenced_client.self import Self as OwnState
from presenced_client.session import Session
from presenced_client.token import Tokens, TokenSource
from presenced_client.url import websocket_address

T = TypeVar("T")


class Presence:
    """Client of one server, as one user: `async with Presence("ws://localhost:3001", user_id="bot") as presence`.

    Entering waits for the first connection, however long the server is down. The connection then comes back by itself.
    Leaving disconnects deliberately, so the user is offline immediately. A final refusal of the server cancels the
    block and is raised out of it as PresenceError.

    Args:
        url: `ws(s)://` or `http(s)://` and the server's host. The path is appended.
        user_id: The user, only where the server trusts it. Otherwise the token says who the user is.
        device: Kind of device that others see, such as `web` or `bot`.
        token: JSON Web Token or ticket, or a function that returns one, or an awaitable of one. A function is called
            before a connection and when the token expires. If it returns None, the user is signed out.
        status: Status to choose with the first connection. If the server knows nothing about the user, others see no
            other one before. None keeps the choice that the server knows.
        linger: Seconds for which a user stays subscribed after the last reader has left.
        forget_after: Seconds without a connection until every user is `unknown`; None for the time in which the server
            keeps the session.
        ssl: Context for `wss://`; None for the default.
        proxy: Proxy to connect through; True for the one in the environment, None for a direct connection.
    """

    def __init__(
        self,
        url: str,
        *,
        user_id: UserId | None = None,
        device: str = "",
        token: TokenSource = None,
        status: ChoiceStatus | None = None,
        linger: float = 30.0,
        forget_after: float | None = None,
        ssl: tls.SSLContext | None = None,
        proxy: str | Literal[True] | None = True,
    ) -> None:
        identity = {"userId": "" if user_id is None else user_key(user_id), "device": device}
        options: dict[str, Any] = {"proxy": proxy} | ({} if ssl is None else {"ssl": ssl})
        self.session = Session(forget_after)
        """State of the protocol, for tests and tools. Programs use the other attributes."""
        if status is not None:
            if status not in get_args(ChoiceStatus):
                raise ValueError(f"status must be one of {', '.join(get_args(ChoiceStatus))}, not {status!r}")
            self.session.set_status(Choice(status))
        self._linger = linger
        self._connector = Connector(self.session, websocket_address(url), identity, Tokens(token, time.time), options)

    # Values.

    @property
    def users(self) -> Mapping[str, UserPresence]:
        """Known users by `str(id)`: a view that follows the changes."""
        return MappingProxyType(self.session.roster.users)

    @property
    def everyone(self) -> Mapping[str, UserPresence]:
        """Users who are not offline, by `str(id)`; empty unless `watch()` or `changes()` watches everyone."""
        if not self.session.watches_everyone:
            return MappingProxyType({})
        return MappingProxyType({key: user for key, user in self.users.items() if user.online})

    @property
    def self(self) -> OwnState | None:
        """The user's own state; None until the first connection."""
        return self.session.own

    @property
    def connection(self) -> Connection:
        """State of the connection."""
        connector = self._connector
        waits = connector.state == "waiting"
        return Connection(
            state=connector.state,
            stale=self.session.is_stale,
            error=connector.error,
            since=round(connector.since * 1000),
            attempt=connector.decisions.attempt,
            retry_at=round((time.time() + connector.retry_at - now()) * 1000) if waits else 0,
            latency=connector.socket.latency * 1000 if connector.socket else 0.0,
            outcome=self.session.outcome,
        )

    def user(self, user_id: UserId) -> UserPresence:
        """Return what is known of a user now; `unknown` for one who is not subscribed to."""
        return self.session.user(user_key(user_id))

    def now(self) -> int:
        """Return the time on the server's clock, in epoch milliseconds."""
        return round(now() * 1000 + self.session.server_offset_ms)

    # Subscriptions.

    async def get(self, user_id: UserId) -> UserPresence:
        """Subscribe to a user, and return the presence when it is known.

        The subscription lasts for `linger` seconds after the last reader, so calling this again is cheap.

        Raises:
            PresenceError: The server refuses the id, or this client reads more users than the server allows.
        """
        key = user_key(user_id)
        with self._reading([key]):
            await self.wait_for(lambda: self._all_known([key]))
            return self.session.user(key)

    @asynccontextmanager
    async def watch(self, user_ids: Iterable[UserId] | None = None) -> AsyncIterator[Mapping[str, UserPresence]]:
        """Subscribe to users while the block runs; without ids, to everyone visible to this user.

        Entering waits until they are known, and returns `users`.
        """
        keys = None if user_ids is None else [user_key(user_id) for user_id in user_ids]
        with self._reading(keys):
            await self.wait_for(lambda: self._all_known(keys))
            yield self.users

    async def changes(self, user_ids: Iterable[UserId] | None = None) -> AsyncIterator[Change]:
        """Subscribe to users, and yield their changes; without ids, those of everyone visible to this user.

        A slow reader gets the last state of each user. The first answer about a user is not a change, and a reconnect
        gives only differences.
        """
        keys = None if user_ids is None else frozenset(user_key(user_id) for user_id in user_ids)
        stream = ChangeStream(keys, self.session.user, lambda: self.session.watches_everyone)
        self._connector.streams.add(stream)
        try:
            with self._reading(keys):
                while True:
                    yield await self.wait_for(lambda: self._next_change(stream))
        finally:
            self._connector.streams.discard(stream)

    async def count(self, room: str | None = None) -> int:
        """Subscribe to the number of online users, and return it, for everyone visible to this user or for a room."""
        key = EVERYONE if room is None else room
        counts = self.session.desired.counts
        counts.acquire(key)
        self.wishes_changed()
        try:
            await self.wait_for(lambda: self._is_counted(key))
            return self.session.counts[key]
        finally:
            counts.release(key, now() + self._linger)
            self.wishes_changed()

    def room(self, name: str, data: Any = None, *, join: bool = True) -> Membership:
        """Return a room to enter with `async with`. With `join=False` it is watched, without being a member."""
        return Membership(self, name, data, join)

    # The own state.

    async def set_status(
        self,
        status: ChoiceStatus,
        *,
        text: str = "",
        emoji: str = "",
        data: Any = None,
        expires_in: float | None = None,
    ) -> None:
        """Choose a status. It replaces the whole earlier choice. Wait until the server has accepted it.

        While there is no connection, only the last of several choices is remembered.

        Args:
            expires_in: Seconds until the previous permanent choice returns; None for a permanent choice.

        Raises:
            PresenceError: The server refuses the choice, for example because the text is too long.
        """
        ends_at = None if expires_in is None else now() + expires_in
        answer = self.session.set_status(Choice(status, text, emoji, data, ends_at))
        self._connector.wake()
        await self.wait_for(lambda: answer.done)
        if answer.error is not None:
            raise answer.error

    def set_active(self, active: bool) -> None:
        """Say whether somebody is at this device. While all devices of the user are idle, others see `away`."""
        self.session.desired.is_idle = not active
        self.wishes_changed()

    # Waiting.

    async def wait_for(self, condition: Callable[[], T | None]) -> T:
        """Wait until the condition holds, and return its result. It is called after each message and change.

        `asyncio.timeout` limits the time.
        """
        return await self._connector.wait_for(condition)

    async def ready(self) -> None:
        """Wait until everything that is subscribed to is known on this connection."""
        await self.wait_for(lambda: self.session.is_caught_up)

    def retry(self) -> None:
        """Connect now instead of waiting."""
        self._connector.retry_at = 0.0
        self._connector.wake()

    def wishes_changed(self) -> None:
        """Send what has changed in `session.desired`. All wishes of one turn of the loop become one request."""
        self.session.changed()
        self._connector.wake()

    # The life of the client.

    async def __aenter__(self) -> Self:
        self._connector.start()
        try:
            await self.wait_for(lambda: self.session.is_established and self.session.own)
        except BaseException as error:
            await self._connector.stop(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._connector.stop(error)

    # Conditions.

    @contextmanager
    def _reading(self, keys: Iterable[str] | None) -> Iterator[None]:
        """Be a reader of these users; None for everyone."""
        desired = self.session.desired
        for key in keys or ():
            desired.users.acquire(key)
        if keys is None:
            desired.everyone.acquire(None)
        self.wishes_changed()
        try:
            yield
        finally:
            until = now() + self._linger
            for key in keys or ():
                desired.users.release(key, until)
            if keys is None:
                desired.everyone.release(None, until)
            self.wishes_changed()

    def _check_allowed(self, keys: Iterable[str]) -> None:
        excess = self.session.excess_users()
        for key in keys:
            if key in excess:
                raise PresenceError(
                    "TOO_MANY_WATCHED",
                    f"the server allows {self.session.limits.max_users} users by id",
                    hint="Watch everyone, or a room.",
                )
            if error := self.session.refusal("user", key):
                raise error

    def _all_known(self, keys: Iterable[str] | None) -> bool:
        if keys is None:
            return self.session.watches_everyone
        self._check_allowed(keys)
        return all(self.session.user(key).status != "unknown" for key in keys)

    def _next_change(self, stream: ChangeStream) -> Change | None:
        self._check_allowed(stream.users or ())
        return stream.take()

    def _is_counted(self, key: str) -> bool:
        if error := self.session.refusal("count", key):
            raise error
        return key in self.session.counts
