"""Requests of clients: a registry of their types, and of the functions that handle them.

A protocol has one registry. Each kind of request is a `msgspec.Struct` with a tag, and one function handles it. A
decoder for the union of all these types parses a message, checks its fields and selects the type in one step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, reduce
from operator import or_
from typing import Any, Generic, TypeVar

from msgspec.json import Decoder

from presenced.errors import Fault
from presenced.runtime import strict_json

C = TypeVar("C")

Handler = Callable[[C, Any], None]
"""Function that handles a request. Its arguments are the context of the request and the request."""


class RequestRefused(Exception):
    """Refusal of a request, which then has no effect. The client receives the fault and the message."""

    def __init__(self, fault: Fault, message: str) -> None:
        self.fault = fault
        super().__init__(message)


class Handlers(Generic[C]):
    """The requests of one protocol. `C` is the type of the context that handlers receive.

        handlers: Handlers[Context] = Handlers()

        @handlers.handles(SetStatus)
        def choose_status(context: Context, request: SetStatus) -> None: ...

    The decoder accepts the registered types only, so a request without a handler cannot be parsed.
    """

    def __init__(self) -> None:
        self._by_type: dict[type, Handler[C]] = {}

    def handles(self, *types: type) -> Callable[[Handler[C]], Handler[C]]:
        """Register the decorated function for requests of these types, each a tagged `msgspec.Struct`.

        Register all of them before the first call of `parse`, which builds the decoder.
        """

        def register(handler: Handler[C]) -> Handler[C]:
            for one in types:
                assert one not in self._by_type, f"{one.__name__} has a handler already"
                self._by_type[one] = handler
            return handler

        return register

    def parse(self, text: str) -> Any:
        """Return the request in `text`.

        Raises:
            msgspec.ValidationError: It is JSON, but not a request. The message says why and lists what is allowed.
            msgspec.DecodeError: It is not JSON.
        """
        return strict_json.read(text, self._decoder, self._union)

    def call(self, context: C, request: Any) -> None:
        """Call the handler of a parsed request.

        Raises:
            RequestRefused: The handler refuses the request.
        """
        self._by_type[type(request)](context, request)

    @cached_property
    def _union(self) -> Any:
        return reduce(or_, self._by_type)

    @cached_property
    def _decoder(self) -> Decoder[Any]:
        return Decoder(self._union)
