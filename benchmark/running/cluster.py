"""The engine of many machines: tasks of a Ray cluster, or of one that this machine makes for itself."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmark.output.progress import Reporter
from benchmark.output.tables import one_line
from benchmark.running.engines import Result, Task, Work, portable

ATTEMPTS = 3  # to finish a task whose process or machine is lost
PATIENCE = 10  # seconds for a cluster to answer
BRIEF = {"RAY_NUM_REDIS_GET_RETRIES": "1", "RAY_py_gcs_connect_timeout_s": str(PATIENCE)}  # tried once, not 20 times
AHEAD = 2  # tasks given to the cluster for each that it can work on at a time: none of it waits for this process


class Cluster:
    """Ray tasks. This process alone writes records, so only it needs the folder of results.

    The machines need this package, its data and the files of methods at the same paths. Checkpoints lie where a task
    runs: on a shared file system any machine goes on from them.

    Args:
        workers: how many tasks at a time; None for as many as the cluster has room for.
        address: of a running cluster, as ``ray.init`` takes it; None for one of this machine alone.
        threads: of each task, and so the cores that it asks for.
        reporter: told how many are finished.
        device: that they compute on; on a GPU each asks for one of its own, or a share of it where ``workers`` are
            more than there are GPUs.

    Raises:
        ValueError: there is no cluster at the address.
    """

    inherits = False

    def __init__(self, workers: int | None, address: str | None, threads: int, reporter: Reporter, device: str) -> None:
        if address is not None:
            _check_answers(address)
        for name, value in BRIEF.items():  # Ray reads them as it is imported
            os.environ.setdefault(name, value)
        import ray

        self._ray: Any = ray
        self.reporter = reporter
        own: dict[str, Any] = (
            {} if address else {"num_cpus": workers * threads if workers else None, "include_dashboard": False}
        )
        try:
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **own)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ValueError(
                f"--address {address}: no Ray cluster answers there: {' '.join(str(error).split())}"
            ) from None
        has = ray.cluster_resources()
        room = int(has.get("CPU", 1)) // threads
        self.workers = max(1, min(workers or room, room))
        gpus = min(1.0, has.get("GPU", 0.0) / self.workers) if device == "cuda" else 0.0
        self._remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=ATTEMPTS - 1)(_work)
        self._threads = threads

    def map(self, work: Work, tasks: Iterator[Task]) -> Generator[Result]:
        """See ``Engine``. A task whose process or machine is lost is tried again."""
        shared = self._ray.put(self._ray.cloudpickle.dumps(work))
        running: dict[Any, Task] = {}
        try:
            while True:
                for task in islice(tasks, self.workers * AHEAD - len(running)):
                    running[self._remote.remote(shared, task, self._threads, Path.cwd())] = task
                if not running:
                    return
                for finished in self._ray.wait(list(running))[0]:
                    yield from self._results(running.pop(finished), finished)
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)
            self._ray.shutdown()

    def _results(self, task: Task, finished: Any) -> Iterator[Result]:
        try:
            values, error = self._ray.get(finished)
        except self._ray.exceptions.RayError as lost:
            values, error = [], OSError(f"{task.label}: lost {ATTEMPTS} times: {one_line(str(lost))[:300]}")
        for cell, value in values:
            yield Result(task, cell, value)
        if isinstance(error, KeyboardInterrupt):
            raise error
        yield Result(task, None, error)


def _check_answers(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # not for "auto"
            socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"--address {address}: no Ray cluster answers there: {error}") from None


def _work(packed: bytes, task: Task, threads: int, folder: Path) -> tuple[list[tuple[Any, Any]], BaseException | None]:
    """On a machine of the cluster: the values of a task's cells, and the error that ended it."""
    import torch

    torch.set_num_threads(threads)
    parent = os.getppid()

    def tell(done: int, total: int) -> None:
        if os.getppid() != parent:  # Ray of this machine is gone, and so is whoever waits for this
            os._exit(1)

    values: list[tuple[Any, Any]] = []
    try:
        os.chdir(folder)  # where the command was given: files are named as seen from there
        work: Work = pickle.loads(packed)
        values.extend(work(task, tell))
    except BaseException as error:
        return values, portable(error)
    return values, None
