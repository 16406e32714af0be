"""The fact about the `websockets` library that `transports.websocket.handshake` relies on."""

from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol


def test_one_server_protocol_answers_any_number_of_handshakes() -> None:
    rules = ServerProtocol()
    for _ in range(3):
        headers = Headers(
            {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Version": "13",
            }
        )
        assert rules.process_request(Request("/", headers)) == ("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", None, None)
