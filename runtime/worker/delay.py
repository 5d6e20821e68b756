"""How long a thread could have run and had no processor, as Linux tells it."""

from __future__ import annotations

import os
import weakref
from typing import Final

_LONGEST: Final = 128


class DelayClock:
    """Seconds for which a thread waited for a processor; it stands still where the system does not tell.

    It is read without giving the GIL away: who watches for calls that hold it would be a moment too late after every
    ordinary read of a file.

    Args:
        native_id: the thread, as the system numbers it.
    """

    def __init__(self, native_id: int) -> None:
        import ctypes

        self._buffer = ctypes.create_string_buffer(_LONGEST)
        self._pread = ctypes.PyDLL(None).pread  # PyDLL: with the GIL held
        self._pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_longlong)
        self._pread.restype = ctypes.c_ssize_t
        self._newest = 0.0
        try:
            # nanoseconds on a processor, nanoseconds waiting for one, and how often it was given one
            self._file = os.open(f"/proc/self/task/{native_id}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1
        else:
            weakref.finalize(self, os.close, self._file)

    def __call__(self) -> float:
        length = self._pread(self._file, self._buffer, _LONGEST, 0) if self._file >= 0 else 0
        if length > 0:
            self._newest = int(self._buffer.raw[:length].split()[1]) / 1e9
        return self._newest
