"""The rules of the page's presenced.v1, without the page: what it makes of messages, and what it asks for."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page
from tests.browser.conftest import OpenPage
from tests.support.process import ServerProcess

RUN = """async (steps) => {
  const state = await import('/v1-state.js');
  const { parseV1 } = await import('/v1-protocol.js');
  const { told, plain } = await import('/v1-words.js');
  const watched = (w) => ({ everyone: !!w.everyone, users: new Set(w.users), rooms: new Set(w.rooms) });
  const said = [];
  let view = state.NOTHING_SEEN;
  for (const [kind, value, ...rest] of steps) {
    if (kind === 'begun' || kind === 'watching') view = state[kind](view, watched(value), ...rest);
    else if (kind === 'settled') view = state.settled(view);
    else {
      const message = parseV1(value);
      said.push(plain(told(view, message)));
      view = state.heard(view, message);
    }
  }
  const users = (list) => list.map((u) => [u.userId, u.status + (u.uncertain ? '?' : '')]);
  return {
    users: users([...view.users.values()]), listed: users(state.listed(view)), position: view.position, said,
    rooms: [...view.rooms].map(([name, room]) => [name, room.mode, room.count, [...room.members.keys()]]),
    counts: [...view.counts], self: view.self && view.self.status,
  };
}"""

EVERYONE = ["begun", {"everyone": True}]


def user(user_id: str | int, status: str = "online", version: int = 1, **more: Any) -> dict[str, Any]:
    return {"userId": user_id, "status": status, "since": 1, "version": version, **more}


def message(kind: str, **fields: Any) -> list[Any]:
    return ["heard", json.dumps({"type": kind, **fields})]


def established(session: str = "s", resumed: bool = False, settling: float = 0) -> list[Any]:
    return message("CONNECTION_ESTABLISHED", sessionId=session, resumed=resumed, settling=settling)


def snapshot(*users: dict[str, Any], watch: str = "everyone", page: int = 1, pages: int = 1) -> list[Any]:
    return message("PRESENCE_SNAPSHOT", watch=watch, page=page, pages=pages, users=users)


def changes(*users: dict[str, Any], position: str = "e-2") -> list[Any]:
    return message("PRESENCE_CHANGES", position=position, users=users)


def room(kind: str, *members: dict[str, Any], count: int, mode: str = "full", **more: Any) -> list[Any]:
    return message(f"ROOM_{kind}", room="r", mode=mode, count=count, members=members, **more)


def member(user_id: str, status: str = "online", version: int = 1) -> dict[str, Any]:
    return {"userId": user_id, "joinedAt": 1, "presence": user(user_id, status, version)}


def after(page: Page, *steps: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(RUN, list(steps))
    return {**found, "users": dict(found["users"]), "listed": dict(found["listed"])}


def test_a_snapshot_and_what_changes_after_it(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    start = [EVERYONE, established(), snapshot(user("a"), user(7))]
    assert after(page, *start)["users"] == {"a": "online", "7": "online"}, "ids are texts"
    found = after(page, *start, changes(user("a", "away", 2), user("__proto__", "busy")))
    assert found["users"] == {"a": "away", "7": "online", "__proto__": "busy"}
    assert found["position"] == "e-2"
    assert found["said"] == ["a new session", "2 users", "a online → away; __proto__ offline → busy"]
    assert after(page, *start, changes(user("a", "offline", 2)))["users"] == {"7": "online"}
    old = after(page, *start, changes(user("a", "busy", 5)), changes(user("a", "away", 4)))
    assert old["users"]["a"] == "busy", "a version that is not above the known one is old news"
    assert old["said"][-1] == ""


def test_pages_of_a_snapshot_are_one_moment(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    start = [EVERYONE, established(), snapshot(user("gone"), user("a"), user("b"))]
    pages = [
        snapshot(user("a", "away", 2), page=1, pages=2),
        snapshot(user("b", version=1), user("c"), page=2, pages=2),
    ]
    assert after(page, *start, pages[0])["users"] == {"gone": "online", "a": "away", "b": "online"}
    assert after(page, *start, *pages)["users"] == {"a": "away", "b": "online", "c": "online"}


def test_a_watch_list_shows_whoever_was_asked_for(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    start = [["begun", {}], established(), ["watching", {"users": ["a", "b"]}]]
    unknown = {**user("b", "offline"), "since": 0}
    found = after(page, *start, snapshot(user("a", "busy"), unknown, watch="users"))
    assert found["listed"] == {"a": "busy", "b": "offline"}
    more = [*start, snapshot(user("a"), unknown, watch="users"), ["watching", {"users": ["a", "b", "c"]}]]
    found = after(page, *more, snapshot(user("c"), watch="users"))
    assert found["listed"] == {"a": "online", "b": "offline", "c": "online"}, "a snapshot of the new one alone"
    again = snapshot(user("b", version=2), {**user("a", "offline", 2), "since": 0}, watch="users")
    assert after(page, *more, again)["listed"] == {"a": "offline", "b": "online", "c": "offline"}, "forgotten"
    restarted = [["begun", {"users": ["a", "b"]}], established("t", settling=15), again]
    found = after(page, *more, *restarted)
    assert found["users"] == {"a": "online?", "b": "online"}, "a may be about to come back"
    assert after(page, *more, *restarted, ["settled", None])["users"] == {"b": "online"}
    found = after(page, *more, snapshot(user("c"), watch="users"), ["watching", {"users": ["c"]}])
    assert found["users"] == {"c": "online"}
    found = after(page, *start, snapshot(user("a"), watch="users"), changes(user("a", "offline", 2, lastSeen=5)))
    assert found["listed"] == {"a": "offline", "b": "offline"}


def test_coming_back(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    start = [EVERYONE, established(), snapshot(user("a", version=8), user("b", version=9))]
    found = after(page, *start, established(resumed=True), changes(user("a", "away", 10)))
    assert found["users"] == {"a": "away", "b": "online"}, "resumed: only what was missed is told"
    again = [*start, EVERYONE, established("t"), snapshot(user("a", "busy", 1))]
    assert after(page, *again)["users"] == {"a": "busy"}, "another server counts its versions anew"
    settling = [*start, EVERYONE, established("t", settling=15), snapshot(user("a", version=1))]
    assert after(page, *settling)["users"] == {"a": "online", "b": "online?"}, "b may be about to come back"
    assert after(page, *settling, changes(user("b", version=1)))["users"]["b"] == "online"
    assert after(page, *settling, ["settled", None])["users"] == {"a": "online"}
    assert after(page, *settling, changes(user("b", version=1)), ["settled", None])["users"]["b"] == "online"


def test_rooms_and_counts(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    start = [["begun", {}], established(), ["watching", {"rooms": ["r"]}]]
    full = [*start, room("SNAPSHOT", member("a"), member("b"), count=2, page=1, pages=1)]
    found = after(page, *full)
    assert (found["rooms"], found["listed"]) == ([["r", "full", 2, ["a", "b"]]], {})
    assert found["users"] == {"a": "online", "b": "online"}
    found = after(page, *full, room("CHANGES", member("c", "away"), count=2, left=["a"]))
    assert found["rooms"] == [["r", "full", 2, ["b", "c"]]]
    assert found["users"] == {"b": "online", "c": "away"}, "of a we hear no more"
    assert found["said"][-1] == "r: c joined; a left · 2 members"
    found = after(page, *full, changes(user("b", "busy", 2)), room("CHANGES", count=6000, mode="counts"))
    assert (found["rooms"], found["users"]) == ([["r", "counts", 6000, []]], {})
    assert after(page, *full, ["watching", {}])["rooms"] == []
    assert after(page, *full, ["watching", {}], room("CHANGES", member("z"), count=3))["rooms"] == [], "left meanwhile"
    two = [room("SNAPSHOT", member(name), count=2, page=i, pages=2) for i, name in ((1, "x"), (2, "y"))]
    assert after(page, *full, *two)["rooms"] == [["r", "full", 2, ["x", "y"]]]

    count = message("PRESENCE_COUNT", watch="everyone", online=5)
    assert after(page, count, message("PRESENCE_COUNT", watch="room", room="r", online=2))["counts"] == [
        ["everyone", 5],
        ["room r", 2],
    ]


def test_messages_of_a_later_server_change_nothing(server: ServerProcess, open_page: OpenPage) -> None:
    parsed = open_page(server).page.evaluate(
        """async () => {
          const { parseV1 } = await import('/v1-protocol.js');
          return ['', 'null', '[]', '"x"', '{"type":"toString"}', '{"type":"NEW_THING"}', '{}'].map(parseV1);
        }"""
    )
    assert parsed == [None] * 7


def test_requests_that_lead_from_one_watch_to_another(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page

    def requests(before: dict[str, Any], wanted: dict[str, Any]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = page.evaluate(
            "async ([a, b]) => (await import('/v1-wishes.js')).watchRequests(a, b)",
            [{"users": [], "counted": False, **before}, {"users": [], "counted": False, **wanted}],
        )
        return made

    everyone, nobody = {"whom": "everyone"}, {"whom": "nobody"}
    some = {"whom": "users", "users": ["a", "b"]}
    assert requests(everyone, everyone) == requests(some, some) == []
    assert requests(everyone, nobody) == [{"type": "UNWATCH", "everyone": True}]
    assert requests(nobody, everyone) == [{"type": "WATCH", "everyone": True}]
    assert requests(everyone, some) == [
        {"type": "UNWATCH", "everyone": True},
        {"type": "WATCH", "users": ["a", "b"]},
    ]
    assert requests(some, {"whom": "users", "users": ["b", "c"]}) == [
        {"type": "UNWATCH", "users": ["a"]},
        {"type": "WATCH", "users": ["c"]},
    ]
    assert requests(some, {**some, "counted": True}) == [
        {"type": "UNWATCH", "users": ["a", "b"]},
        {"type": "WATCH", "users": ["a", "b"], "mode": "count"},
    ]
    assert requests({**everyone, "counted": True}, everyone) == [
        {"type": "UNWATCH", "everyone": True},
        {"type": "WATCH", "everyone": True},
    ]


def test_data_is_json_or_a_text(server: ServerProcess, open_page: OpenPage) -> None:
    made = open_page(server).page.evaluate(
        """async () => {
          const { dataFrom } = await import('/v1-wishes.js');
          return ['', '  ', 'hello', '{"a": 1}', '7', '"x"', '{a'].map(dataFrom);
        }"""
    )
    assert made == ["", "", '"hello"', '{"a":1}', "7", '"x"', '"{a"']


def test_what_v1_says_becomes_who_is_online(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    steps = """async (steps) => {
      const { heard, seen, onlyThese, withoutAvailability, NOBODY } = await import('/presence.js');
      const text = { text: '', emoji: '', devices: [], until: 0, lastSeen: 0, cause: '', data: '' };
      const calls = { heard, onlyThese: (p, ids, now) => onlyThese(p, new Map(ids.map((id) => [id, {}])), now),
        seen: (p, users, ...rest) => seen(p, users.map((u) => ({ ...text, ...u })), ...rest), withoutAvailability };
      let presence = NOBODY;
      for (const [name, ...rest] of steps) presence = calls[name](presence, ...rest);
      return [...presence.values()].map((u) => [u.userId, u.online, u.seen?.status ?? null]);
    }"""
    t = 1_000_000_000_000
    came = ["seen", [user("a") | {"since": t}], "e", t]
    away = ["seen", [user("a", "away", 2) | {"since": t + 5}], "e", t]
    gone = ["seen", [user("a", "offline", 3) | {"since": t + 9}], "e", t]
    assert page.evaluate(steps, [came, away]) == [["a", True, "away"]]
    assert page.evaluate(steps, [away, came]) == [["a", True, "away"]], "another connection tells later of the same"
    assert page.evaluate(steps, [away, ["seen", [user("a") | {"since": t + 7}], "f", t]]) == [["a", True, "online"]]
    assert page.evaluate(steps, [came, gone]) == [["a", False, "offline"]]
    assert page.evaluate(steps, [gone]) == [], "who was never here is not listed"
    assert page.evaluate(steps, [came, ["onlyThese", ["b"], t]]) == [["a", False, None]]
    assert page.evaluate(steps, [away, ["withoutAvailability"]]) == [["a", True, None]]
    classic = ["heard", {"type": "USER_OFFLINE", "userId": "a", "at": t + 9, "connectionId": ""}, t]
    assert page.evaluate(steps, [away, classic]) == [["a", False, None]]
