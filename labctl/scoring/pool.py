"""Processes that read and score audio: limited in memory, replaced when one of them dies."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import resource
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from labctl.errors import UnavailableError
from labctl.workers import begin

_MEMORY_BYTES = 4 << 30  # address space, of which scoring ten minutes at 48 kHz uses less than half


class AudioPool:
    """Runs functions in processes; a task that kills its process fails alone. Processes start on first use."""

    def __init__(self, processes: int | None = None) -> None:
        self.processes = processes or max((os.cpu_count() or 2) // 2, 1)
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._closed = False

    def run(self, target: str, *arguments: Any) -> Any:
        """Call `target`, "module:function", in a process and wait; only that process imports the module.

        A task whose process died may have been a neighbour's victim: it is tried once more, in a process of its own.
        Raises BrokenProcessPool when that dies too, UnavailableError when the daemon is shutting down.
        """
        pool = self._current()
        try:
            return pool.submit(call_by_name, target, *arguments).result()
        except BrokenProcessPool:
            self._drop(pool)
        with _pool(1) as alone:
            return alone.submit(call_by_name, target, *arguments).result()

    def close(self) -> None:
        """End the processes once they have done what they are at; what waits is dropped."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _current(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._closed:
                raise UnavailableError("the daemon is shutting down; ask again when it is back")
            if self._pool is None:
                self._pool = _pool(self.processes)
            return self._pool

    def _drop(self, broken: ProcessPoolExecutor) -> None:
        with self._lock:
            if self._pool is broken:
                self._pool = None


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin)


def call_by_name(target: str, *arguments: Any) -> Any:
    """Call "module:function" in the process that this runs in: whoever submits it need not import the module."""
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)(*arguments)


def _begin() -> None:
    begin()
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # the processes are the parallelism
        os.environ[name] = "1"
