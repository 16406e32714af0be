"""What `/readyz` says."""

from __future__ import annotations

from presenced.auth.origin import ANY, FILES
from presenced.engine import Engine
from presenced.settings import is_loopback


def not_ready(engine: Engine) -> list[str]:
    """Why no new connection should be sent here; empty when there is no reason."""
    reasons = []
    if engine.draining:
        reasons.append("the server is stopping")
    if engine.is_full:
        reasons.append(f"all {engine.max_connections} connections are taken")
    return reasons


def warnings(engine: Engine) -> list[str]:
    """What an operator should know although everything works."""
    found = [engine.recorder.warning] if engine.recorder is not None else []
    if engine.admission is None and not is_loopback(engine.settings.host):
        found.append("authentication is off and other machines may connect: whoever does may claim any user id")
    if ANY in engine.settings.origins:
        found.append("pages of every origin may connect, because the setting origins contains *: list your own origins")
    if FILES in engine.settings.origins:
        found.append(
            "pages of every origin may connect from a sandboxed frame, because the setting origins contains file://"
        )
    return [warning for warning in found if warning]
