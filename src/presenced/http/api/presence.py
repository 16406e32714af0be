"""Endpoints for the presence of users and rooms, restricted to what a viewer may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET, Raw, UnsetType

from presenced.errors import BadUserId, Problem
from presenced.http.api.endpoint import LARGE_BODY_BYTES, Api, ApiCall, Endpoint
from presenced.http.api.requests import Empty, OnlineParams, PresenceQuery, RoomListParams, RoomParams, ViewerParams
from presenced.http.api.responses import (
    ItemError,
    OnlineCounts,
    OnlineUsers,
    QueryUsersResult,
    RoomList,
    RoomMember,
    RoomPage,
    RoomSummary,
)
from presenced.http.errors import ProblemError
from presenced.node.service import PresenceService
from presenced.node.viewer_scope import ViewerScope
from presenced.presence.identity import parse_user_id
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import UserRecord


@Endpoint("GET", "/users/{user_id}", scope="read", conditional=True)
async def get_user(api: Api, call: ApiCall[ViewerParams, Empty]) -> UserRecord:
    """The presence of one user.

    A user without known presence, or one that the viewer may not see, is offline, with `since` 0 and the newest
    version of all users.
    """
    return record_of_user(api.service, call.user_id, checked_viewer(api, call.query.viewer))


@Endpoint("POST", "/users/query", scope="read", max_body_bytes=LARGE_BODY_BYTES, example='{"users": [7, "ada"]}')
async def query_users(api: Api, call: ApiCall[Empty, PresenceQuery]) -> QueryUsersResult:
    """The presence of up to 1,000 users.

    An invalid user id is listed in `errors`. The response still contains the other users.
    """
    wanted, errors = checked_users(call.body.users)
    scope = api.service.scope_of(checked_viewer(api, call.body.viewer, Problem.BAD_BODY))
    return QueryUsersResult(user_records(scope, wanted), errors)


@Endpoint("GET", "/rooms/{room}", scope="read", conditional=True)
async def get_room(api: Api, call: ApiCall[RoomParams, Empty]) -> RoomPage:
    """A room and its members.

    A room that does not exist, or that the viewer may not enter, has no members.
    """
    scope = api.service.scope_of(checked_viewer(api, call.query.viewer))
    return room_page(scope, call.name, call.query)


@Endpoint("GET", "/rooms", scope="read", example_query="limit=100")
async def list_rooms(api: Api, call: ApiCall[RoomListParams, Empty]) -> RoomList:
    """All rooms with the number of their members.

    A room that has members all the time appears exactly once. There is no parameter `viewer`, because a client learns
    only of rooms that it names.
    """
    return room_list(api.service, call.query)


@Endpoint("GET", "/counts", scope="read")
async def get_counts(api: Api, call: ApiCall[ViewerParams, Empty]) -> OnlineCounts:
    """The numbers of online users and of rooms.

    Invisible users are not counted. `/stats` and `/metrics` count connections.
    """
    viewer = checked_viewer(api, call.query.viewer)
    rooms = api.service.counts().rooms if viewer is None else None
    return OnlineCounts(await api.service.scope_of(viewer).count_online(), rooms)


@Endpoint("GET", "/online", scope="read", example_query="limit=100")
async def list_online(api: Api, call: ApiCall[OnlineParams, Empty]) -> OnlineUsers:
    """All online users.

    A user who is online all the time appears exactly once. To complete the list and keep it current, apply the
    changes after the `position` of the first page. Of two records of one user, the one with the higher version
    counts.
    """
    return online_page(api.service, checked_viewer(api, call.query.viewer), call.query)


# Responses, for the Python interface, too.


def record_of_user(service: PresenceService, user_id: str, viewer: str | None = None) -> UserRecord:
    """Return a user as a viewer sees them, or without restrictions if there is no viewer."""
    (record,) = user_records(service.scope_of(viewer), [user_id])
    return record


def user_records(scope: ViewerScope, user_ids: Sequence[str]) -> list[UserRecord]:
    """Return the users as a viewer sees them, in their order. A hidden user looks like an unknown one."""
    return [
        scope.record(user_id, change) for user_id, change in zip(user_ids, scope.last_changes(user_ids), strict=True)
    ]


def online_page(service: PresenceService, viewer: str | None, page: OnlineParams) -> OnlineUsers:
    """Return one page of the online users that a viewer sees."""
    scope, limit = service.scope_of(viewer), page.limit
    position = service.position_text(service.position)
    found = service.online(page.after, limit + 1)
    users = [scope.record(change.user_id, change) for _, change in found[:limit] if scope.sees(change.user_id)]
    return OnlineUsers(position, users, found[limit - 1][0] if len(found) > limit else None)


def room_page(scope: ViewerScope, name: str, page: RoomParams) -> RoomPage:
    """Return a room and one page of its members, as a viewer sees them."""
    found = scope.members(name, page.after, page.limit)
    members = [
        RoomMember(
            wire_user_id(member.user_id),
            member.joined_ms,
            scope.record(member.user_id, change),
            Raw(member.data) if member.data else None,
        )
        for member, change in found.members
    ]
    return RoomPage(name, found.mode.value, found.count, members, found.next)


def room_list(service: PresenceService, page: RoomListParams) -> RoomList:
    """Return one page of all rooms."""
    found = service.rooms(page.after, page.limit + 1)
    rooms = [RoomSummary(room.name, room.mode.value, len(room.members)) for room in found[: page.limit]]
    return RoomList(rooms, found[page.limit - 1].number if len(found) > page.limit else None)


# Checks of requests.


class CheckedUsers(NamedTuple):
    """Result of checking the user ids of a request."""

    user_ids: list[str]
    """Valid user ids."""
    errors: list[ItemError]
    """Errors of the other items."""


def checked_users(given: Iterable[Any]) -> CheckedUsers:
    """Return the valid user ids of a request, and the errors of the other items."""
    wanted, errors = [], []
    for index, value in enumerate(given):
        try:
            wanted.append(parse_user_id(value))  # refuses everything but strings and whole numbers
        except BadUserId as error:
            errors.append(ItemError(index, Problem.BAD_BODY.name, str(error)))
    return CheckedUsers(wanted, errors)


def checked_viewer(api: Api, given: int | str | UnsetType, problem: Problem = Problem.BAD_PARAMETER) -> str | None:
    """Return the viewer's id; None if no viewer is named and the response may show everything.

    Raises:
        ProblemError: The id is invalid. The error is `problem`.
    """
    if given is UNSET:
        return None
    try:
        return parse_user_id(given, api.settings.placeholder_ids)
    except BadUserId as error:
        raise ProblemError(problem, str(error).replace("userId", "viewer", 1)) from None
