"""Tables of codes."""

from http import HTTPStatus

import pytest
from websockets.frames import Close as CloseFrame

from presenced.errors import ClientClose, Close, Problem
from presenced.presence.directory import Directory
from presenced.presence.journal import Journal
from presenced.presence.model import Ending
from presenced.presence.session import Grace
from presenced.presence.users import Limits
from presenced.runtime.instant import Instant
from presenced.transports.websocket.endings import client_ending


@pytest.mark.parametrize("close", [*Close, *ClientClose])
def test_every_close_code_may_be_sent(close: Close | ClientClose) -> None:
    assert CloseFrame(close.code, close.meaning).serialize(), "RFC 6455 section 7.4 allows it"
    assert close.meaning.endswith(".")


def test_close_codes_are_unique() -> None:
    assert len({close.code for close in Close}) == len(Close)


@pytest.mark.parametrize("close", ClientClose)
def test_a_client_s_close_code_affects_its_session_as_the_table_states(close: ClientClose) -> None:
    directory: Directory[str] = Directory(Grace(3, 15), Limits(1000, 600, 1, resume_window=120), Journal(1000))
    directory.open("7", "a", Instant(0, 0), "session")
    directory.close("7", "a", client_ending(close.code), Instant(1, 1000))
    assert ("session" in directory.users.sessions) is close.resumable
    assert directory.users.status("7") == ("online" if close.resumable else "offline"), "a grace period, or none"


def test_a_client_can_send_4001_only_with_its_defined_meaning() -> None:
    """The server never sends it, and no other code from 3000 to 4999 is an exception."""
    assert ClientClose.KEEP_SESSION.code not in {close.code for close in Close}
    kept = [code for code in range(3000, 5000) if client_ending(code) is not Ending.CLOSED]
    assert kept == [ClientClose.KEEP_SESSION.code]


@pytest.mark.parametrize("problem", Problem)
def test_every_problem_has_a_real_status(problem: Problem) -> None:
    assert 400 <= HTTPStatus(problem.status) < 600
    assert problem.meaning.endswith(".")
