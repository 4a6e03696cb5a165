"""The values used last, up to a number or a weight.

Law: a thread-safe memory of things that can be had again; knows no domain word. Used by index and reader.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentCache(Generic[K, V]):
    """Forgets what was not used for longest as soon as the weights (1 each by default) exceed `limit`."""

    def __init__(self, limit: int, weigh: Callable[[V], int] = lambda _: 1) -> None:
        self._limit = limit
        self._weigh = weigh
        self._weight = 0
        self._items: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            value = self._items.get(key)
            if value is not None:
                self._items.move_to_end(key)
            return value

    def put(self, key: K, value: V) -> None:
        with self._lock:
            old = self._items.pop(key, None)
            self._weight += self._weigh(value) - (self._weigh(old) if old is not None else 0)
            self._items[key] = value
            while self._weight > self._limit and len(self._items) > 1:
                _, dropped = self._items.popitem(last=False)
                self._weight -= self._weigh(dropped)

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Forget every key for which `unwanted` is true."""
        with self._lock:
            for key in [k for k in self._items if unwanted(k)]:
                self._weight -= self._weigh(self._items.pop(key))
