"""Log lines about an outage of the database, in which the events wait."""

from __future__ import annotations

import logging

from sqlalchemy import URL

from presenced.storage.database import explain_error, is_driver_error

_logger = logging.getLogger("presenced")


class DatabaseOutage:
    """Logs the beginning and the end of an outage once, however many tasks notice it, and however often.

    Bounds: one name for each task.

    Args:
        url: URL of the database.
    """

    def __init__(self, url: URL) -> None:
        self._url = url
        self._failing: set[str] = set()
        """Names of the tasks whose last use of the database failed."""

    def failed(self, task: str, error: Exception) -> None:
        """Record that the database failed when a task used it."""
        if not self._failing:
            _logger.error("webhooks wait, because the database can't be used: %s", explain_error(error, self._url))
        self._failing.add(task)

    def succeeded(self, task: str) -> None:
        """Record that a task has used the database successfully."""
        if task in self._failing:
            self._failing.discard(task)
            if not self._failing:
                _logger.warning("webhooks continue, because the database can be used again")


def is_database_failure(error: Exception) -> bool:
    """Return whether the database failed. Failures of a receiver are not exceptions (`EndpointSender.send`)."""
    return isinstance(error, OSError) or is_driver_error(error)
