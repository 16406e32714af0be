"""What `/readyz` says."""

from __future__ import annotations

from presenced.config.settings import is_loopback
from presenced.net.origins import ANY, FILES
from presenced.node.node import Node


def not_ready(node: Node) -> list[str]:
    """Why no new connection should be sent here; empty when there is no reason."""
    reasons = []
    if node.draining:
        reasons.append("the server is stopping")
    if node.is_full:
        reasons.append(f"all {node.max_connections} connections are taken")
    return reasons


def warnings(node: Node) -> list[str]:
    """What an operator should know although everything works."""
    found = [node.recorder.warning] if node.recorder is not None else []
    if node.gatekeeper is None and not is_loopback(node.settings.host):
        found.append("authentication is off and other machines may connect: whoever does may claim any user id")
    if ANY in node.settings.origins:
        found.append("pages of every origin may connect, because the setting origins contains *: list your own origins")
    if FILES in node.settings.origins:
        found.append(
            "pages of every origin may connect from a sandboxed frame, because the setting origins contains file://"
        )
    return [warning for warning in found if warning]
