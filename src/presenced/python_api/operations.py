"""Queries and commands of a running server, for the program that embeds it.

Each method does the same as an endpoint of the HTTP API, with the same functions:

    argument checks     the types of requests (`arguments`)
    what happens        `PresenceService`
    the result          the records of responses (`from_records`)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import msgspec
from msgspec import UNSET

from presenced.config.settings import Settings
from presenced.http.api.commands import choice_in, claim_in
from presenced.http.api.explain import explanation_record, live_session, session_list
from presenced.http.api.presence import online_page, record_of_user, room_list, room_page, user_records
from presenced.http.api.requests import (
    MAX_PAGE_ENTRIES,
    DeadLetterParams,
    DeadLetterRetry,
    HistoryParams,
    NewClaim,
    NewStatus,
    NewTicket,
    OnlineParams,
    Revocation,
    RoomListParams,
    RoomParams,
    SessionListParams,
    UsersQuery,
    checked_name,
)
from presenced.http.api.responses import claim_record
from presenced.node.service import Counts, Erasure, PresenceService
from presenced.presence.model import Status
from presenced.protocols.ids import UserId, wire_user_id
from presenced.protocols.v1.messages import Chosen
from presenced.python_api import from_records
from presenced.python_api.arguments import checked_arguments, checked_user, json_of
from presenced.python_api.following import ChangeFollowers, OnChange
from presenced.python_api.results import (
    HistoryChange,
    HistorySession,
    Next,
    Page,
    Presence,
    PresenceChange,
    RoomPresence,
    RoomSize,
    StatusExplanation,
    UndeliveredWebhook,
    UserClaim,
    UserLastSeen,
    UserSession,
)
from presenced.runtime.clock import Clock
from presenced.storage.answers import DeadLetters, PastSessions, UserHistory

Claimable = Literal["online", "away", "busy"]


class RunningParts(NamedTuple):
    """Parts of a running server that its operations use."""

    service: PresenceService
    followers: ChangeFollowers
    clock: Clock


class PresenceOperations:
    """Queries and commands of a running server.

    All raise `RuntimeError` if the server is not running, and outside its event loop. All raise `BadUserId` for an
    invalid user id, and `BadParameter` for another invalid argument. Both are `ValueError`. Methods that are not
    coroutines return immediately and never wait for the database.
    """

    settings: Settings

    def _running_parts(self) -> RunningParts:
        """Return the parts of the running server.

        Raises:
            RuntimeError: The server is not running, or the call is outside its event loop.
        """
        raise NotImplementedError

    # Queries.

    def presence(self, user_id: UserId, *, viewer: UserId | None = None) -> Presence:
        """Return the presence of a user. A user without known presence is offline.

        Args:
            viewer: User whose view restricts the result. A hidden user looks like one without known presence.
        """
        service = self._running_parts().service
        return from_records.presence(record_of_user(service, self._user(user_id), self._viewer(viewer)))

    def presences(self, user_ids: Iterable[UserId], *, viewer: UserId | None = None) -> list[Presence]:
        """Return the presence of several users, in their order. O(users).

        Args:
            viewer: As for `presence`.

        Raises:
            TypeError: `user_ids` is a string.
        """
        service = self._running_parts().service
        scope = service.scope_of(self._viewer(viewer))
        return [from_records.presence(record) for record in user_records(scope, self._users(user_ids))]

    def online(
        self, *, viewer: UserId | None = None, limit: int = MAX_PAGE_ENTRIES, after: Next = None
    ) -> Page[Presence]:
        """Return one page of the users who are online, which means shown as anything but offline.

        A user who is online all the time appears in exactly one page. The time is proportional to the size of the
        page.

        Args:
            viewer: Return only users that this user may see. A page may then have fewer items than `limit`, or none.
            limit: Maximum number of users, 1 to 1000.
            after: `next` of the previous page; None for the first page.
        """
        service, page = self._running_parts().service, checked_arguments(OnlineParams, limit=limit, after=after)
        found = online_page(service, self._viewer(viewer), page)
        return Page(items=[from_records.presence(record) for record in found.users], next=found.next)

    def counts(self) -> Counts:
        """Return the numbers of users, connections and rooms. Takes constant time."""
        return self._running_parts().service.counts()

    async def count_online(self, *, viewer: UserId | None = None) -> int:
        """Return the number of online users.

        Args:
            viewer: Count only users that this user may see. For a viewer who sees everyone, this takes constant time.
                Otherwise it is O(users that the viewer's rule names + members of the viewer's rooms).
        """
        return await self._running_parts().service.scope_of(self._viewer(viewer)).count_online()

    def room(
        self, name: str, *, viewer: UserId | None = None, limit: int = MAX_PAGE_ENTRIES, after: Next = None
    ) -> RoomPresence:
        """Return a room and one page of its members. O(members of the room), 10 ms for 100,000.

        A room that does not exist, or that the viewer may not enter, has no members.

        Args:
            name: Name of the room, 1 to 128 characters.
            viewer: Return only members that this user may see.
            limit: Maximum number of members, 1 to 1000.
            after: `next` of the previous page; None for the first page.
        """
        service, page = self._running_parts().service, checked_arguments(RoomParams, limit=limit, after=after)
        scope = service.scope_of(self._viewer(viewer))
        return from_records.room(room_page(scope, checked_name(name, "room"), page))

    def rooms(self, *, limit: int = MAX_PAGE_ENTRIES, after: Next = None) -> Page[RoomSize]:
        """Return one page of all rooms, in the order in which they got their first members.

        A room that has members all the time appears in exactly one page. The time is proportional to the size of the
        page.

        Args:
            limit: Maximum number of rooms, 1 to 1000.
            after: `next` of the previous page; None for the first page.
        """
        found = room_list(self._running_parts().service, checked_arguments(RoomListParams, limit=limit, after=after))
        return Page(items=[from_records.room_size(record) for record in found.rooms], next=found.next)

    def sessions(self, user_id: UserId) -> list[UserSession]:
        """Return the sessions of a user that have a connection or are in their grace period."""
        parts, checked = self._running_parts(), self._user(user_id)
        now = parts.clock.now()
        return [
            from_records.session(wire_user_id(checked), live_session(session, now, parts.service.node_of(session)))
            for session in parts.service.sessions_of(checked)
        ]

    def all_sessions(self, *, limit: int = MAX_PAGE_ENTRIES, after: Next = None) -> Page[UserSession]:
        """Return one page of the sessions of all users, those of invisible users included.

        A user who has a session all the time appears in exactly one page. The time is proportional to the size of the
        page.

        Args:
            limit: Maximum number of sessions, 1 to 1000. A page exceeds it only if its first user has more sessions.
            after: `next` of the previous page; None for the first page.
        """
        parts, page = self._running_parts(), checked_arguments(SessionListParams, limit=limit, after=after)
        found = session_list(parts.service, page, parts.clock.now())
        return Page(items=[from_records.session(one.user_id, one) for one in found.sessions], next=found.next)

    def explain(self, user_id: UserId, *, viewer: UserId | None = None) -> StatusExplanation:
        """Explain the status of a user. The explanation contains the truth, even about invisible users.

        Args:
            viewer: User whose view of the user it explains, too.
        """
        service = self._running_parts().service
        found = service.explain(self._user(user_id), self._viewer(viewer))
        positions = [service.position_text(change.position) for change in found.changes]
        return from_records.explanation(explanation_record(found, service.scope_of(None)), positions)

    # Commands.

    def announce(self, user_id: UserId, online: bool = True) -> bool:
        """Announce the status of a user whose presence your program knows from elsewhere.

        The announcement holds until you announce the opposite. It adds presence and never removes it: a user with an
        open connection stays online. If none is open, announcing offline also ends the grace period of a lost
        connection.

        Args:
            online: Whether the user is online.

        Returns:
            Whether others see a change. In a cluster they see it after the call, so this is False.

        Raises:
            CapacityError: `max_announced` users are already announced online.
        """
        return self._running_parts().service.announce(self._user(user_id), online)

    def disconnect(self, user_id: UserId) -> int:
        """Close all connections of a user (close code 4410), who goes offline immediately, without a grace period.

        An announcement stays in force.

        Returns:
            Number of connections that are being closed.
        """
        return self._running_parts().service.disconnect(self._user(user_id, placeholders=True))

    def set_status(
        self,
        user_id: UserId,
        status: Status | Chosen,
        *,
        text: str = "",
        emoji: str = "",
        data: object = None,
        expires_in: float | None = None,
    ) -> Presence:
        """Choose a status for a user, as the user's own devices can. The choice of an absent user is remembered.

        Args:
            status: `auto` follows what the server detects.
            text: At most 140 characters.
            emoji: At most 32 characters.
            data: Anything that can be sent as JSON of at most 2,048 bytes.
            expires_in: Seconds after which the previous permanent choice returns, at most a year; None for a permanent
                choice.

        Returns:
            Presence that others see now. In a cluster, this is still the one from before the change.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        request = checked_arguments(
            NewStatus, status=status, text=text, emoji=emoji, data=json_of(data), expires_in=expires_in
        )
        service.set_status(checked, choice_in(request), request.expires_in)
        return from_records.presence(record_of_user(service, checked))

    def clear_status(self, user_id: UserId) -> Presence:
        """Clear the status that a user chose. From now on the status is as detected.

        Returns:
            Presence that others see now. In a cluster, this is still the one from before the change.
        """
        service, checked = self._running_parts().service, self._user(user_id, placeholders=True)
        service.set_status(checked, None)
        return from_records.presence(record_of_user(service, checked))

    def claims(self, user_id: UserId) -> list[UserClaim]:
        """Return the claims about a user, in the order in which they were set."""
        found = self._running_parts().service.claims_of(self._user(user_id))
        return [from_records.claim(claim_record(claim)) for claim in found]

    def set_claim(
        self,
        user_id: UserId,
        source: str,
        status: Status | Claimable,
        *,
        text: str = "",
        emoji: str = "",
        data: object = None,
        priority: int = 0,
        expires_in: float | None = None,
    ) -> Presence:
        """Set a claim about a user, which replaces the previous claim of its source.

        A claim counts while the user is present and not invisible.

        Args:
            source: Name of the source of the claim, such as `calendar`, 1 to 64 characters.
            status: Status while the claim wins.
            text: As for `set_status`.
            emoji: As for `set_status`.
            data: As for `set_status`.
            priority: The claim with the highest priority wins, -100 to 100. Above 0 it also wins over a choice.
            expires_in: Seconds after which the claim ends, at most a year; None until it is cleared.

        Returns:
            Presence that others see now. In a cluster, this is still the one from before the change.

        Raises:
            BadClaim: The source is invalid.
            CapacityError: The user already has claims from the maximum number of sources.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        request = checked_arguments(
            NewClaim,
            status=status,
            text=text,
            emoji=emoji,
            data=json_of(data),
            priority=priority,
            expires_in=expires_in,
        )
        service.set_claim(checked, claim_in(source, request), request.expires_in)
        return from_records.presence(record_of_user(service, checked))

    def clear_claim(self, user_id: UserId, source: str) -> bool:
        """Clear the claim of a source about a user, and return whether there was one.

        Args:
            source: Name of the source of the claim.
        """
        return self._running_parts().service.clear_claim(self._user(user_id, placeholders=True), source)

    async def erase(self, user_id: UserId) -> Erasure:
        """Erase a user: tokens, connections, announcement, status, claims, display data and everything in the database.

        Raises:
            CapacityError: Too many revocations are remembered already.
            StorageUnavailable: The database does not respond. The rest is done.
        """
        return await self._running_parts().service.erase(self._user(user_id, placeholders=True))

    # Tokens.

    def issue_ticket(self, user_id: UserId, *, lasts: float | None = None, presence: object = None) -> str:
        """Issue a ticket with which a client of the user can connect once, within 30 s.

        Args:
            lasts: Maximum number of seconds for the connection; None for no limit.
            presence: Users that the user may see, and rooms that they may enter: `{"watch": [7], "rooms": ["lobby"]}`.

        Raises:
            CapacityError: Too many tickets are unused.
            ConfigError: The setting `auth` is not `ticket`.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        request = checked_arguments(NewTicket, user_id=checked, lasts=lasts)
        return service.issue_ticket(checked, request.lasts, presence)

    def revoke(self, user_id: UserId, *, session_id: str | None = None, token_id: str | None = None) -> int:
        """Revoke tokens of a user: all of them, or one. Close the connections that they opened.

        Args:
            session_id: Revoke only the token that opened this session.
            token_id: Revoke only the token with this `jti`.

        Returns:
            Number of connections that are being closed.

        Raises:
            CapacityError: Too many revocations are remembered already.
            ConfigError: Authentication is off.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        request = checked_arguments(Revocation, session_id=session_id, token_id=token_id)
        return service.revoke(checked, request.session_id or "", request.token_id or "")

    # Stored data. Each raises `ConfigError` without a database, and `StorageUnavailable` if it does not respond.

    async def last_seen(self, user_id: UserId) -> UserLastSeen:
        """Return when a user was last seen. For a user who is present, this is the current time."""
        (found,) = await self.last_seen_of([user_id])
        return found

    async def last_seen_of(self, user_ids: Sequence[UserId]) -> list[UserLastSeen]:
        """Return when several users were last seen, in their order. Pass at most 1,000 users.

        Raises:
            TypeError: `user_ids` is a string.
        """
        service, wanted = self._running_parts().service, self._users(user_ids)
        checked_arguments(UsersQuery, users=wanted)
        return [from_records.last_seen(record) for record in await service.last_seen(wanted)]

    async def history(self, user_id: UserId, *, limit: int = 100, after: Next = None) -> Page[HistoryChange]:
        """Return one page of the stored changes of a user, newest first, with their true causes.

        Args:
            limit: Maximum number of changes, 1 to 1000.
            after: `next` of the previous page; None for the first page.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        page = checked_arguments(HistoryParams, limit=limit, after=after)
        answer = await service.database.history(checked, page.after, page.limit)
        found = msgspec.json.decode(answer, type=UserHistory)
        return Page(items=[from_records.past_change(record) for record in found.changes], next=found.next)

    async def past_sessions(self, user_id: UserId, *, limit: int = 100, after: Next = None) -> Page[HistorySession]:
        """Return one page of the stored sessions of a user, newest first, including open ones.

        Args:
            limit: Maximum number of sessions, 1 to 1000.
            after: `next` of the previous page; None for the first page.
        """
        service, checked = self._running_parts().service, self._user(user_id)
        page = checked_arguments(HistoryParams, limit=limit, after=after)
        answer = await service.database.sessions(checked, page.after, page.limit)
        found = msgspec.json.decode(answer, type=PastSessions)
        return Page(items=[from_records.past_session(record) for record in found.sessions], next=found.next)

    async def dead_letters(self, *, limit: int = 100, after: Next = None) -> Page[UndeliveredWebhook]:
        """Return one page of the webhooks that could not be delivered, oldest first.

        Args:
            limit: Maximum number of webhooks, 1 to 1000.
            after: `next` of the previous page; None for the first page.

        Raises:
            ConfigError: No webhooks are sent.
        """
        service, page = self._running_parts().service, checked_arguments(DeadLetterParams, limit=limit, after=after)
        found = msgspec.json.decode(await service.webhooks.dead_letters(page.after, page.limit), type=DeadLetters)
        return Page(items=[from_records.dead_letter(record) for record in found.dead_letters], next=found.next)

    async def retry_dead_letters(self, ids: Sequence[str] | None = None) -> int:
        """Send undelivered webhooks again, and return how many wait for delivery.

        Args:
            ids: Their ids, at most 1,000; None for all.

        Raises:
            ConfigError: No webhooks are sent.
        """
        service = self._running_parts().service
        request = checked_arguments(DeadLetterRetry, ids=None if ids is None else list(ids))
        return await service.retry_dead_letters(None if request.ids is UNSET else request.ids)

    # Changes.

    @property
    def position(self) -> str:
        """Cursor of the newest event, for `changes(after=...)`."""
        service = self._running_parts().service
        return service.position_text(service.position)

    def on_change(self, callback: OnChange, *, on_lost: Callable[[], None] | None = None) -> Callable[[], None]:
        """Call `callback` with every visible change of every user from now on, in order.

        It is called in the event loop, in the turn after the change, and holds up the server while it runs. Start a
        task for anything that waits. Its exceptions are logged and have no other effect. The calls end when the server
        stops.

        Args:
            on_lost: Called if more than `journal_size` changes happened in one turn of the loop, instead of the calls
                for them. Read `online` again then.

        Returns:
            Function that ends the calls. Calling it again does nothing.

        Raises:
            CapacityError: There are 1,000 followers already.
            TypeError: `callback` is a coroutine function.
        """
        return self._running_parts().followers.on_change(callback, on_lost)

    def changes(self, *, after: str = "") -> AsyncIterator[PresenceChange]:
        """Return an asynchronous iterator over every visible change of every user, in order.

        It ends when the server stops.

        The server queues nothing for it: the iterator is a position in the journal, which contains the newest
        `journal_size` changes. If it is slower than the changes for so long that the journal has evicted some, it
        raises `ChangesLost`. Then read `position` and `online` again, and continue from that position.

        Args:
            after: `position` of the server or of a change, after which the iterator starts; empty: now.

        Raises:
            BadParameter: `after` is not a cursor.
            CapacityError: While it waits: there are 1,000 followers already.
            ChangesLost: The journal no longer contains all changes after `after`, or it is from before a restart.
        """
        return self._running_parts().followers.changes(after)

    # Arguments.

    def _user(self, user_id: UserId, placeholders: bool = False) -> str:
        return checked_user(user_id, placeholders or self.settings.placeholder_ids)

    def _users(self, user_ids: Iterable[UserId]) -> list[str]:
        if isinstance(user_ids, str):
            raise TypeError("user_ids is a string, whose characters would be the ids; pass a list")
        return [self._user(user_id) for user_id in user_ids]

    def _viewer(self, viewer: UserId | None) -> str | None:
        return None if viewer is None else checked_user(viewer, self.settings.placeholder_ids, "viewer")
