"""Four gloo processes label like one."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from glc.core.clustering import JaccardDBSCAN, MultiScaleConsensus
from glc.core.graph import knn_graph
from glc.core.jaccard import jaccard_distance
from glc.core.sharding import own_triangle_rows, shared_work
from tests.test_core.foreign_device import FOREIGN, ForeignDevice
from tests.test_core.oracles import clustered_features

pytestmark = pytest.mark.distributed


def results(features, cam_ids):
    graph = knn_graph(features, 12)
    distance = jaccard_distance(features, (6, 12), 3, max_distance=0.8, graph=graph)
    with ForeignDevice():
        foreign = JaccardDBSCAN(k1=12, k2=3)(torch.from_numpy(features).to(FOREIGN)).cpu()
    return {
        'indices': graph.indices,
        'similarities': graph.similarities,
        'approximate': knn_graph(features, 12, 'approximate').indices,
        'distance': distance.toarray(),
        'dbscan': JaccardDBSCAN(k1=12, k2=3)(features),
        'consensus': MultiScaleConsensus(k1=(6, 12), k2=3)(features, cam_ids),
        'torch': JaccardDBSCAN(k1=12, k2=3, backend='torch')(features),
        'device': foreign,
    }


def worker(rank, world_size, folder, features, cam_ids):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world_size)
    with shared_work():
        shared = results(features, cam_ids)
        rows = np.array(own_triangle_rows(len(features)))
    np.savez(f'{folder}/{rank}.npz', rows=rows, **shared)
    if rank == 0:  # alone, although a process group is there: nobody answers
        knn_graph(features, 12)
    dist.destroy_process_group()


def test_four_processes_give_the_labels_of_one(tmp_path):
    features = clustered_features(301, 12, seed=3)
    cam_ids = np.arange(301) % 3
    alone = results(features, cam_ids)
    mp.spawn(worker, (4, str(tmp_path), features, cam_ids), nprocs=4)
    shares = [np.load(tmp_path / f'{rank}.npz') for rank in range(4)]
    for share in shares:
        for name, expected in alone.items():
            np.testing.assert_array_equal(share[name], expected)
    assert alone['dbscan'].max() > 3
    rows = np.concatenate([share['rows'] for share in shares])
    np.testing.assert_array_equal(rows, np.arange(301))
    costs = [(301 - share['rows']).sum() for share in shares]
    assert max(costs) == pytest.approx(min(costs), rel=0.05)
