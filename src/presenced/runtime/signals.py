"""The signals with which a person or a service manager stops the process."""

from __future__ import annotations

import asyncio
import signal

_STOP = signal.SIGINT, signal.SIGTERM


def stop_signal() -> asyncio.Future[signal.Signals]:
    """Return a future that the first SIGINT or SIGTERM from now on completes. A second one ends the process.

    Cancel the future to restore the earlier handlers. Call this in the main thread, in the loop.
    """
    loop = asyncio.get_running_loop()
    earlier = {number: signal.getsignal(number) for number in _STOP}
    received: asyncio.Future[signal.Signals] = loop.create_future()

    def on_signal(number: signal.Signals) -> None:
        if not received.done():
            received.set_result(number)

    def restore(_: object) -> None:
        for number in _STOP:
            loop.remove_signal_handler(number)
            # After a signal, restore the default: the earlier handler may be that of asyncio, which raises
            # KeyboardInterrupt and prints a traceback.
            signal.signal(number, earlier[number] if received.cancelled() else signal.SIG_DFL)

    for number in _STOP:
        loop.add_signal_handler(number, on_signal, number)
    received.add_done_callback(restore)
    return received
