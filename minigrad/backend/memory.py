"""Memory for large NumPy results: a block goes back to the pool when the last array on it is gone.

A sweep that is run again finds all its blocks there, warm in cache and known to the operating system, whose
zeroed pages cost more than most operations that fill them.
"""

import math
from collections import deque
from threading import Lock
from typing import Any

import numpy as np

LARGE = 1 << 18  # bytes: what is smaller, malloc has at hand
LINE = 64  # bytes of a cache line, the widest vector
SLACK = 2  # times what was ever in use at once may be kept: a step needs its sizes at different times


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like np.empty, from the pool if it is LARGE.

    >>> empty((2, 3), np.float32).shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or dtype.hasobject:
        return np.empty(shape, dtype)
    return np.asarray(Lease(POOL, POOL.take(size), shape, dtype))


def empty_like(x: np.ndarray) -> np.ndarray:
    """An array in C order of the shape and dtype of x, from the pool if it is LARGE."""
    return empty(x.shape, x.dtype)


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Like np.zeros, from the pool if it is LARGE."""
    x = empty(shape, dtype)
    x.fill(0)
    return x


class Block:
    """So many bytes from an address that is a multiple of a cache line."""

    __slots__ = ("address", "memory", "size")

    def __init__(self, size: int) -> None:
        self.size, self.memory = size, np.empty(size + LINE, np.uint8)
        self.address = self.memory.ctypes.data + -self.memory.ctypes.data % LINE


class Pool:
    """Free blocks by their size, those of the size used last at the end; `made` counts the new ones.

    What is in use and what is free together never exceed SLACK times the most that was in use at once:
    before a block is made that would, free ones of the sizes longest unused go.
    """

    def __init__(self) -> None:
        self.free: dict[int, list[Block]] = {}
        self.in_use = self.most = self.held = self.made = 0
        self._lock = Lock()
        # Arrays die anywhere, also inside `take`: what they leave waits here, where no lock is needed.
        self._returned: deque[Block] = deque()

    def take(self, size: int) -> Block:
        """A block of so many bytes."""
        with self._lock:
            while self._returned:
                block = self._returned.popleft()
                self.in_use -= block.size
                self.free[block.size].append(block)
            blocks = self.free[size] = self.free.pop(size, [])
            most = max(self.most, self.in_use + size)
            if blocks:
                block = blocks.pop()
            else:
                self._release(SLACK * most - size)
                block = Block(size)  # or a MemoryError: what could not be had does not count
                self.held += size
                self.made += 1
            self.in_use += size
            self.most = most
            return block

    def give(self, block: Block) -> None:
        self._returned.append(block)

    def _release(self, limit: float) -> None:
        """Lets go of free blocks until no more than `limit` bytes are held, or none is left."""
        for size, blocks in self.free.items():
            while blocks and self.held > limit:
                blocks.pop()
                self.held -= size


class Lease:
    """What an array on a block refers to, so that its end is noticed."""

    __slots__ = ("__array_interface__", "block", "pool")

    def __init__(self, pool: Pool, block: Block, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.pool, self.block = pool, block
        self.__array_interface__ = {
            "version": 3,
            "data": (block.address, False),
            "shape": shape,
            "typestr": dtype.str,
        }

    def __del__(self) -> None:
        self.pool.give(self.block)


POOL = Pool()
