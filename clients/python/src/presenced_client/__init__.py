"""asyncio client of presenced, the self-hosted presence server.

`Presence` is the client. `presenced_client.session` is the protocol without input and output.
"""

from presenced_client.client import Presence
from presenced_client.connection import Connection
from presenced_client.errors import PresenceError
from presenced_client.membership import Membership
from presenced_client.presence import Change, Status, UserId, UserPresence
from presenced_client.room import Member, Room
from presenced_client.self import ChoiceStatus, Self
from presenced_client.token import TokenSource
from presenced_client.version import __version__

__all__ = [
    "Change",
    "ChoiceStatus",
    "Connection",
    "Member",
    "Membership",
    "Presence",
    "PresenceError",
    "Room",
    "Self",
    "Status",
    "TokenSource",
    "UserId",
    "UserPresence",
    "__version__",
]
