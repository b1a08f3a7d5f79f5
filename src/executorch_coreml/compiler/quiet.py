"""Importing and calling coremltools without its chatter about versions and missing macOS parts."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr


@contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Silences coremltools' warnings that say nothing about the user's model.

    On import it warns about the installed torch version and about native libraries that exist only
    on macOS; when it serialises it draws progress bars on stderr. Exceptions pass.
    """
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
