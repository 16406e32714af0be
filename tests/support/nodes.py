"""Nodes without sockets, and how fake connections open on them."""

from __future__ import annotations

from typing import Any

from presenced.config.settings import WEBSOCKET_PATH, Settings
from presenced.node.build import build_node
from presenced.node.node import Node
from presenced.protocols.base import ConnectRequest
from presenced.protocols.classic.protocol import ClassicProtocol
from presenced.protocols.v1.protocol import V1Protocol
from presenced.runtime.clock import Clock
from presenced.runtime.metrics import Metrics


def make_node(settings: Settings, clock: Clock, metrics: Metrics | None = None, **parts: Any) -> Node:
    """Return a node, not started, with room for 1,000 connections."""
    options = {"max_connections": 1000, **parts}
    return build_node(settings=settings, clock=clock, metrics=metrics or Metrics(), **options)


def v1(node: Node) -> V1Protocol:
    """Return the node's protocol presenced.v1."""
    found = node.protocols.find(WEBSOCKET_PATH.encode(), "presenced.v1")
    assert isinstance(found, V1Protocol)
    return found


def classic(node: Node) -> ClassicProtocol:
    """Return the node's classic protocol."""
    found = node.protocols.find(WEBSOCKET_PATH.encode(), "")
    assert isinstance(found, ClassicProtocol)
    return found


def request(query: str | bytes, subprotocol: str = "", token: str = "", path: str = WEBSOCKET_PATH) -> ConnectRequest:
    """Return the request of a handshake."""
    text = query.encode() if isinstance(query, str) else query
    return ConnectRequest(path.encode(), text, subprotocol, token)
