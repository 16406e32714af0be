"""The rules of the page's script, without the page: what it makes of messages and statistics."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page
from tests.browser.conftest import OpenPage
from tests.support.process import ServerProcess

from presenced.errors import ClientClose, Close

STEPS = """async (steps) => {
  const { heard, reconciled, NOBODY } = await import('/presence.js');
  let presence = NOBODY;
  for (const [kind, ...rest] of steps) {
    presence = kind === 'stats' ? reconciled(presence, ...rest) : heard(presence, ...rest);
  }
  return [...presence.values()].map((user) => [user.userId, user.online, user.since, user.spans.length]);
}"""


def online(user_id: str, at: int, now: int | None = None) -> list[Any]:
    return ["message", {"type": "USER_ONLINE", "userId": user_id, "at": at, "connectionId": ""}, now or at]


def offline(user_id: str, at: int, now: int | None = None) -> list[Any]:
    return ["message", {"type": "USER_OFFLINE", "userId": user_id, "at": at, "connectionId": ""}, now or at]


def stats(users: dict[str, int], asked_at: int, held: int = 0, complete: bool = True) -> list[Any]:
    sessions = [{"userId": user_id, "connectedAt": at} for user_id, at in users.items()]
    counts = {"connectedUsers": len(users), "onlineUsers": len(users) + held, "totalConnections": len(users)}
    return ["stats", {**counts, "sessions": sessions, "complete": complete}, asked_at, asked_at + 5]


def after(page: Page, *steps: list[Any]) -> dict[str, tuple[bool, int]]:
    """Who is known after these steps: online or not, and since when."""
    return {user_id: (on, since) for user_id, on, since, _ in page.evaluate(STEPS, list(steps))}


def test_presence_follows_messages_and_statistics(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    t = 1_000_000_000_000
    on, off = online("a", t), offline("a", t + 50)
    assert after(page, on) == {"a": (True, t)}
    assert after(page, on, off) == {"a": (False, t + 50)}
    assert after(page, on, off, on) == {"a": (False, t + 50)}, "a second connection tells later of the same"
    assert after(page, on, online("a", t + 9)) == {"a": (True, t)}, "since the first"
    back = t - 3_600_000
    assert after(page, on, offline("a", back, t + 50)) == {"a": (False, back)}, "the clock was set back by an hour"

    assert after(page, stats({"a": t - 500}, t)) == {"a": (True, t - 500)}
    assert after(page, on, stats({}, t + 100)) == {"a": (False, t + 105)}, "it is complete, and a is not in it"
    assert after(page, on, stats({}, t)) == {"a": (True, t)}, "heard after it was asked"
    assert after(page, on, off, stats({"a": t}, t + 20)) == {"a": (False, t + 50)}, "heard after it was asked"
    assert after(page, on, stats({}, t + 100, held=1)) == {"a": (True, t)}, "a may be the one in a grace"
    assert after(page, on, stats({}, t + 100, complete=False)) == {"a": (True, t)}, "a may be on the next page"


def test_what_is_known_of_users_is_bounded(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    many = [online(f"u{i}", i + 1) for i in range(600)]
    known = after(page, offline("gone", 1), *many)
    assert len(known) == 500
    assert "gone" not in known
    assert list(known)[-1] == "u599"
    flapping = [step for i in range(100) for step in (online("a", 2 * i + 1), offline("a", 2 * i + 2))]
    [[_, _, _, spans]] = page.evaluate(STEPS, flapping)
    assert spans == 24


def test_the_close_codes_are_the_servers(server: ServerProcess, open_page: OpenPage) -> None:
    page = open_page(server).page
    codes = page.evaluate(
        "async () => [...(await import('/protocol.js')).CLOSE_CODES].map(([c, v]) => [c, v.meaning, v.reconnect])"
    )
    assert codes == [[close.code, close.meaning, close.reconnect] for close in Close]
    kept = page.evaluate("async () => (await import('/protocol.js')).KEEP_SESSION")
    assert kept == ClientClose.KEEP_SESSION.code


def test_messages_of_a_later_server_are_passed_over(server: ServerProcess, open_page: OpenPage) -> None:
    parsed = open_page(server).page.evaluate(
        """async () => {
          const { parseMessage } = await import('/protocol.js');
          return ['', 'null', '[]', '"x"', '{"type":"toString","userId":1}', '{"type":"USER_ONLINE"}',
            '{"type":"USER_AWAY","userId":1}', '{"type":"USER_ONLINE","userId":{}}'].map(parseMessage);
        }"""
    )
    assert parsed == [None] * 8
