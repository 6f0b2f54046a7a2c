"""The C library's heaps, on which llama.cpp and NumPy put what is not a tensor's: vocabularies, texts, rows of logits.

glibc has one for each of many threads, and learns from the first large block that is freed to keep blocks of up to
32 MiB and twice as much at the end of each heap. A program that loads models and scores texts on threads that come and
go grows by tens of megabytes with each, and none of it is in use.
"""

from __future__ import annotations

import ctypes

_MIB = 2**20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h. To set one of them ends the learning."""

_libc = ctypes.CDLL(None)


def keep_little() -> None:
    """Have blocks of a MiB and more given back when they are freed, and no more than that kept at a heap's end."""
    if hasattr(_libc, "mallopt"):  # other C libraries give back by themselves
        _libc.mallopt(_M_MMAP_THRESHOLD, _MIB)
        _libc.mallopt(_M_TRIM_THRESHOLD, _MIB)


def give_back() -> None:
    """Give back what was freed between blocks that are in use."""
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(ctypes.c_size_t(0))
