"""Why somebody cannot be told: counted every time, and in the log once for each cause."""

from __future__ import annotations

import structlog

from recoverd.metrics.notifications import NotificationMetrics
from recoverd.notifications.wire import SendFailed

log = structlog.get_logger()


class Trouble:
    """What is wrong with telling one receiver. `why` is that of the newest try, "" when it did not fail."""

    def __init__(self, receiver: str, metrics: NotificationMetrics) -> None:
        self.why = ""
        self._receiver = receiver
        self._metrics = metrics

    def failed(self, error: SendFailed, text: str) -> None:
        """A try failed. `text` says so in the log."""
        self._metrics.count(self._receiver, "retried")
        if self.why != str(error):
            self.why = str(error)
            log.warning(text, event_name="not-notified", receiver=self._receiver)

    def over(self) -> bool:
        """A try did not fail; whether the one before did."""
        was, self.why = self.why, ""
        return bool(was)
