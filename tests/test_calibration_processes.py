"""Calibrations of parts, made in other processes by torch.distributed and Dask, or by threads."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from cupylut import Calibration
from cupylut.data import minilm_gelu_inputs

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
pytest.importorskip("dask.array")

GATHER = """
import sys
import numpy as np
import torch.distributed
from cupylut import Calibration
rank, rendezvous, part, result = int(sys.argv[1]), *sys.argv[2:]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2
)
parts = [None, None]
torch.distributed.all_gather_object(parts, Calibration(np.load(part)))
sum(parts, Calibration()).save(result)
torch.distributed.destroy_process_group()
"""


def test_torch_distributed_gathers_the_whole(tmp_path) -> None:
    layers = minilm_gelu_inputs()
    parts = [layers[:2], np.append(layers[2:], [[np.nan, np.inf]])]
    processes = []
    for rank, part in enumerate(parts):
        np.save(tmp_path / f"part{rank}.npy", part)
        files = [str(tmp_path / name) for name in ("rendezvous", f"part{rank}.npy", f"{rank}")]
        command = [sys.executable, "-c", GATHER, str(rank), *files]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints.decode()
    for rank in (0, 1):
        assert Calibration.load(tmp_path / str(rank)) == Calibration(*parts)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Two workers in processes of their own."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.wait_for_workers(2)
        yield client


def test_dask_workers_count_what_they_hold(client: Any) -> None:
    layers = minilm_gelu_inputs()
    workers = sorted(client.scheduler_info()["workers"])
    parts = [
        client.submit(Calibration, layer, workers=[workers[i % 2]])
        for i, layer in enumerate(layers)
    ]
    whole = client.submit(sum, parts, Calibration())
    assert whole.result(timeout=60) == Calibration(layers)
    holders = {holder for holders in client.who_has(parts).values() for holder in holders}
    assert len(holders) == 2


def test_blocks_of_a_dask_array_are_counted_where_they_are(client: Any) -> None:
    layers = minilm_gelu_inputs()
    x = dask.array.from_array(layers, chunks=(4, 5000))
    parts = [dask.delayed(Calibration)(block) for block in x.to_delayed().ravel()]
    whole = dask.delayed(sum)(parts, Calibration())
    # Twice, and on threads too: nothing that the graph holds may be counted into.
    for scheduler in ("distributed", "distributed", "threads", "threads"):
        assert whole.compute(scheduler=scheduler) == Calibration(layers)


def test_threads_lose_no_counts() -> None:
    """A switch between reading the counts and writing them back used to lose those in between."""
    c, x, interval = Calibration(), np.float16([1, -2, 3]), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(c.update, x) for _ in range(400)]:
                done.result()
    finally:
        sys.setswitchinterval(interval)
    assert c.total == 400 * x.size
