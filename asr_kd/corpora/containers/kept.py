"""What is made once from a container and kept: bounded, shared by threads, and made by one of them alone."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from asr_kd.core.errors import is_system_error

T = TypeVar("T")


class Once(Generic[T]):
    """A value that is made when it is first asked for. Its ValueError is kept as well: damage is looked at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: T | None = None
        self._error: str | None = None

    def get(self, make: Callable[[], T]) -> T:
        """The value. Whatever `make` raises passes; a ValueError is raised again without another try."""
        with self._lock:
            if self._error is not None:
                raise ValueError(self._error)
            if self._value is None:
                try:
                    self._value = make()
                except ValueError as e:
                    if not is_system_error(e):
                        self._error = str(e)
                    raise
            return self._value


class Kept(Generic[T]):
    """The values of the last `count` keys that were asked for."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Once[T]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of `key`, from `make` when it is not kept."""
        with self._lock:
            once = self._values.setdefault(key, Once())
            self._values.move_to_end(key)
            if len(self._values) > self._count:
                self._values.popitem(last=False)
        return once.get(make)
