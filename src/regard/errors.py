"""The one error class that users meet."""

from __future__ import annotations


class RegardError(ValueError):
    """A mistake that the user can mend.

    The message is one sentence (or a short list of them) that says what was wrong, where (file, line, key),
    what was found and what to do. The command line prints it without a traceback and exits with status 2.
    """
