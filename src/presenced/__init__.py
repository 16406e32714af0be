"""presenced: a presence server, which shows in real time who is online.

These names are the public Python API. `PresenceServer` embeds a server in a program; everything else is used with it.
"""

from presenced.auth.principal import Principal
from presenced.config.settings import Settings
from presenced.errors import (
    BadUserId,
    CapacityError,
    Close,
    ConfigError,
    ListenError,
    PortInUse,
    PresencedError,
    Problem,
)
from presenced.node.stats import SessionStats, Stats
from presenced.server import PresenceServer
from presenced.version import __version__

__all__ = [
    "BadUserId",
    "CapacityError",
    "Close",
    "ConfigError",
    "ListenError",
    "PortInUse",
    "PresenceServer",
    "PresencedError",
    "Principal",
    "Problem",
    "SessionStats",
    "Settings",
    "Stats",
    "__version__",
]
