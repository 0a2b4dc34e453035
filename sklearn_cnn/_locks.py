"""Locks of one process: a forked child gets its own."""

import os
import threading
from collections.abc import Callable
from typing import Any

forks_wait = threading.RLock()
"""Held while a module is imported late: a child forked then would wait for Python's own lock."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=forks_wait.acquire,
        after_in_parent=forks_wait.release,
        after_in_child=forks_wait.release,
    )


class ProcessLock:
    """Hold a lock, and renew it in a forked child: a thread that held it does not exist there.

    Use it by ``with lock.held:``.
    """

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        self.make = make
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = self.make()
