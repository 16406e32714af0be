"""The facts about the `websockets` library that `transports` relies on."""

from websockets.datastructures import Headers
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import CLOSED, CLOSING, OPEN, SEND_EOF, SERVER, Protocol
from websockets.server import ServerProtocol

from presenced.transports.websocket.reader import FrameParsers


def masked(opcode: Opcode, payload: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


def test_a_parser_between_two_messages_is_as_good_as_new() -> None:
    """`FrameParsers.give_back` knows it by where the library's generator waits, and by `current_size`."""
    parsers = FrameParsers(1000)
    parser = parsers.borrow()
    assert parsers.give_back(parser)
    new, used = vars(Protocol(SERVER, state=OPEN, max_size=1000)), vars(parser)
    parser.receive_data(masked(Opcode.TEXT, b"a", fin=False) + masked(Opcode.PING, b"") + masked(Opcode.CONT, b"b"))
    parser.events_received()
    parser.data_to_send()
    assert parsers.give_back(parser)
    for name in set(new) - {"id", "logger", "reader", "parser", "debug"}:
        assert used[name] == new[name], name
    assert not parser.reader.buffer
    assert not parser.reader.eof


def test_a_parser_within_a_message_is_not_given_back() -> None:
    whole = masked(Opcode.BINARY, bytes(200))
    for end in range(1, len(whole)):
        parsers = FrameParsers(1000)
        parser = parsers.borrow()
        parser.receive_data(whole[:end])
        assert not parsers.give_back(parser), f"after {end} bytes"
    parser.receive_data(whole[end:] + masked(Opcode.TEXT, b"", fin=False))
    assert not parsers.give_back(parser)


def test_a_parser_that_closed_or_failed_is_not_given_back() -> None:
    for data, state in ((masked(Opcode.CLOSE, b""), CLOSING), (b"\xff\xff", CLOSING)):
        parsers = FrameParsers(1000)
        parser = parsers.borrow()
        parser.receive_data(data)
        assert parser.state is state
        assert not parsers.give_back(parser)
        assert SEND_EOF in parser.data_to_send()
        parser.receive_eof()
        assert parser.state is CLOSED
        assert not parsers.give_back(parser)


def test_after_a_failure_the_close_frame_sent_has_the_code() -> None:
    parser = FrameParsers(1000).borrow()
    parser.receive_data(masked(Opcode.BINARY, bytes(1001)))
    assert parser.parser_exc is not None
    assert parser.close_sent
    assert parser.close_sent.code == 1009


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
