"""Takes secrets out of what our own loggers say: an error of a provider often quotes the request."""

from __future__ import annotations

import logging

from genkit_rag._core.redact import redactor

OURS = "genkit_rag"
_FORMATTER = logging.Formatter()


class RedactingFilter(logging.Filter):
    """Lets every record through, without the secrets that `redactor` finds in its text and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record and return True."""
        redact = redactor()
        record.msg, record.args = redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(_FORMATTER.formatException(record.exc_info))
            record.exc_info = None  # handlers that format it themselves would bring it back
        return True


_filter = RedactingFilter()


def redact_logs() -> None:
    """Redacts the records of every logger of ours that exists; those of other packages are left alone.

    A filter of a logger does not see what its children log: each gets it, once.
    """
    for name, one in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(one, logging.Logger) and (name == OURS or name.startswith(f"{OURS}.")):
            one.addFilter(_filter)  # a filter that is there is not added again
