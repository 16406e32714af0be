"""Who is there: one, many, a room, all, and how many."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import Any

from msgspec import Raw

from presenced.errors import BadUserId, Problem
from presenced.http.api.endpoint import Api, Call
from presenced.http.api.parameters import Many, Nothing, OnlinePage, RoomPage, Viewing
from presenced.http.api.responses import Counted, Fault, Found, Online, RoomMember, RoomReply
from presenced.http.api.viewing import Eyes, checked_viewer
from presenced.http.errors import without_example
from presenced.presence.identity import parse_user_id
from presenced.presence.rooms import Mode
from presenced.protocols.ids import wire_user_id
from presenced.protocols.v1.messages import UserRecord


async def get_user(api: Api, call: Call[Viewing, Nothing]) -> UserRecord:
    """A user without known presence, or who must not be seen, is offline, with `since` 0 and the newest version of
    all."""
    (record,) = Eyes(api, checked_viewer(api, call.query.viewer)).records([call.user_id])
    return record


async def query_users(api: Api, call: Call[Nothing, Many]) -> Found:
    """An id that can't be one is named in `errors`, and does not keep the others from being answered."""
    wanted, errors = checked(call.body.users)
    eyes = Eyes(api, checked_viewer(api, call.body.viewer, Problem.BAD_BODY))
    return Found(list(eyes.records(wanted)), errors)


def checked(given: Iterable[Any]) -> tuple[list[str], list[Fault]]:
    """The ids that can be used, and what is wrong with the others."""
    wanted, errors = [], []
    for index, value in enumerate(given):
        try:
            wanted.append(parse_user_id(value))  # which refuses anything but a text or a whole number
        except BadUserId as error:
            errors.append(Fault(index, Problem.BAD_BODY.name, without_example(error)))
    return wanted, errors


async def get_room(api: Api, call: Call[RoomPage, Nothing]) -> RoomReply:
    """Of a room that does not exist, or that the viewer may not enter, it says that it has no members."""
    eyes = Eyes(api, checked_viewer(api, call.query.viewer))
    room = api.application.room(call.name) if eyes.may_enter(call.name) else None
    if room is None:
        return RoomReply(call.name, Mode.FULL.value, 0, [], None)
    limit, after, unseen = call.query.limit, call.query.after, eyes.unseen
    # O(members): 10 ms for 100,000 of them.
    found = nsmallest(limit + 1, (user_id for user_id in room.members if user_id > after and user_id not in unseen))
    page = found[:limit]
    members = []
    for user_id, change in zip(page, api.application.seen(page), strict=True):
        assert change is not None, "a member is seen"
        member = room.members[user_id]
        data = Raw(member.data) if member.data else None
        members.append(RoomMember(wire_user_id(user_id), member.joined_ms, eyes.record(change), data))
    mode, count = api.node.rooms.mode(room, unseen), room.size(unseen)
    return RoomReply(room.name, mode.value, count, members, page[-1] if len(found) > limit else None)


async def get_counts(api: Api, call: Call[Viewing, Nothing]) -> Counted:
    """Of what is shown: who is invisible is in no number, connections are counted in `/stats` and `/metrics`."""
    viewer = checked_viewer(api, call.query.viewer)
    rooms = api.application.counts().rooms if viewer is None else None
    return Counted(await Eyes(api, viewer).count_online(), rooms)


async def list_online(api: Api, call: Call[OnlinePage, Nothing]) -> Online:
    """Whoever is online all the while is listed once. With the changes after the `position` of the first page, the list
    is made whole and kept so; of two records of one user the one with the higher version counts."""
    eyes, limit = Eyes(api, checked_viewer(api, call.query.viewer)), call.query.limit
    position = api.application.position_text(api.application.position)
    found = api.application.online(call.query.after, limit + 1)
    users = [eyes.record(change) for _, change in found[:limit] if eyes.may_see(change.user_id)]
    return Online(position, users, found[limit - 1][0] if len(found) > limit else None)
