"""Running statistics of BatchNorm, averaged over processes; no other buffer is."""

from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from glc.engine import AverageBatchNormHook, MeanTeacherHook
from tests.runs import fork_server


class Model(nn.Module):
    """BatchNorm with and without running statistics, and a table of labels."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.plain = nn.BatchNorm1d(3)
        self.inner = nn.Sequential(
            nn.Linear(3, 2), nn.BatchNorm2d(2), nn.BatchNorm1d(2, track_running_stats=False)
        )
        self.register_buffer('labels', torch.full((4,), float(rank)))
        for number, (name, value) in enumerate(self.state_dict().items(), 1):
            if 'labels' not in name:
                value.copy_(torch.full_like(value, number + 10 * rank))


def averaged(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world_size)
    runner = SimpleNamespace(model=Model(rank))
    AverageBatchNormHook().after_train_epoch(runner)
    teacher = MeanTeacherHook()
    student = Model(rank)
    teacher.before_run(SimpleNamespace(model=student))
    teacher.after_train_epoch(SimpleNamespace(model=student))
    states = {'model': runner.model, 'teacher': teacher.teacher, 'student': student}
    torch.save({name: model.state_dict() for name, model in states.items()}, f'{folder}/{rank}.pth')
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.distributed
def test_statistics_of_two_processes_become_their_mean(tmp_path):
    mp.start_processes(averaged, (2, str(tmp_path)), nprocs=2, start_method=fork_server())
    for rank in (0, 1):
        after, before = torch.load(tmp_path / f'{rank}.pth'), Model(rank).state_dict()
        assert sum('running' in name for name in before) == 4
        assert all(torch.equal(after['student'][name], value) for name, value in before.items())
        for number, (name, value) in enumerate(before.items(), 1):
            expected = torch.full_like(value, number + 5) if 'running' in name else value
            assert torch.equal(after['model'][name], expected), name
            assert torch.equal(after['teacher'][name], expected), name


def test_one_process_keeps_its_statistics():
    model = Model(0)
    AverageBatchNormHook().after_train_epoch(SimpleNamespace(model=model))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in Model(0).state_dict().items())
