"""presenced: a presence server, which shows in real time who is online.

These names are the public Python API. `PresenceServer` embeds a server in a program; everything else is used with it.
"""

from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import (
    BadClaim,
    BadParameter,
    BadUserId,
    CapacityError,
    ChangesLost,
    Close,
    ConfigError,
    ListenError,
    PortInUse,
    PresencedError,
    Problem,
    StorageError,
    StorageUnavailable,
)
from presenced.node.service import Counts, Erasure
from presenced.node.stats import SessionStats, Stats
from presenced.presence.model import Cause, Status
from presenced.python_api.results import (
    HistoryChange,
    HistorySession,
    MemberPresence,
    OwnPresence,
    Page,
    PendingEnding,
    Presence,
    PresenceChange,
    RoomPresence,
    RoomSize,
    SessionExplanation,
    StatusChoice,
    StatusExplanation,
    UndeliveredWebhook,
    UserClaim,
    UserLastSeen,
    UserSession,
    ViewerExplanation,
)
from presenced.server import PresenceServer
from presenced.version import __version__

__all__ = [
    "BadClaim",
    "BadParameter",
    "BadUserId",
    "CapacityError",
    "Cause",
    "ChangesLost",
    "Close",
    "ConfigError",
    "Counts",
    "Erasure",
    "HistoryChange",
    "HistorySession",
    "ListenError",
    "MemberPresence",
    "OwnPresence",
    "Page",
    "PendingEnding",
    "PortInUse",
    "Presence",
    "PresenceChange",
    "PresenceServer",
    "PresencedError",
    "Principal",
    "Problem",
    "RoomPresence",
    "RoomSize",
    "SessionExplanation",
    "SessionStats",
    "Settings",
    "Stats",
    "Status",
    "StatusChoice",
    "StatusExplanation",
    "StorageError",
    "StorageUnavailable",
    "UndeliveredWebhook",
    "UserClaim",
    "UserLastSeen",
    "UserSession",
    "ViewerExplanation",
    "__version__",
]
