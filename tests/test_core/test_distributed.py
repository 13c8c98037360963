"""Four gloo processes label like one."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from glc import FeatureView
from glc.core.distributed import ALONE, Workers
from glc.core.labelers import JaccardDBSCAN, MultiScaleConsensus
from glc.core.neighbors import knn_graph, mean_jaccard_distance
from tests.runs import fork_server
from tests.test_core.foreign_device import FOREIGN, ForeignDevice
from tests.test_core.oracles import clustered_features

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


def results(features, cam_ids, workers=ALONE):
    def view(x, cam_ids=None, **options):
        return FeatureView(x, cam_ids, workers=workers, **options)

    graph = knn_graph(features, 12, workers=workers)
    with ForeignDevice():
        foreign = JaccardDBSCAN(k1=12, k2=3)(view(torch.from_numpy(features).to(FOREIGN))).cpu()
    return {
        'indices': graph.indices,
        'similarities': graph.similarities,
        'approximate': knn_graph(features, 12, 'approximate', workers=workers).indices,
        'distance': view(features).distance((6, 12), 3, 0.8).toarray(),
        'mean': mean_jaccard_distance([(features, graph)], (6, 12), 3, 0.8, workers).toarray(),
        'dbscan': JaccardDBSCAN(k1=12, k2=3)(view(features)),
        'consensus': MultiScaleConsensus(k1=(6, 12), k2=3)(view(features, cam_ids)),
        'torch': JaccardDBSCAN(k1=12, k2=3)(view(features, backend='torch')),
        'device': foreign,
    }


def worker(rank, world_size, folder, features, cam_ids):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world_size)
    workers = Workers.of_group()
    rows = np.array(workers.triangle_rows(len(features)))
    np.savez(f'{folder}/{rank}.npz', rows=rows, **results(features, cam_ids, workers))
    if rank == 0:  # alone, although a process group is there: nobody answers
        knn_graph(features, 12)
        JaccardDBSCAN(k1=12, k2=3)(FeatureView(features, workers=workers).alone())
    dist.destroy_process_group()


def test_four_processes_give_the_labels_of_one(tmp_path):
    features = clustered_features(301, 12, seed=3)
    cam_ids = np.arange(301) % 3
    alone = results(features, cam_ids)
    arguments = (4, str(tmp_path), features, cam_ids)
    mp.start_processes(worker, arguments, nprocs=4, start_method=fork_server())
    shares = [np.load(tmp_path / f'{rank}.npz') for rank in range(4)]
    for share in shares:
        for name, expected in alone.items():
            np.testing.assert_array_equal(share[name], expected)
    assert alone['dbscan'].max() > 3
    rows = np.concatenate([share['rows'] for share in shares])
    np.testing.assert_array_equal(rows, np.arange(301))
    costs = [(301 - share['rows']).sum() for share in shares]
    assert max(costs) == pytest.approx(min(costs), rel=0.05)
