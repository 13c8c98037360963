"""Training with identities: what it learns, on how many processes, and after a resume."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from glc.core.losses import batch_hard_triplet_loss
from glc.models import SupervisedHead, SupervisedReID
from glc.structures import ReIDDataSample
from tests.runs import records, source_config, train, write_images
from tests.test_ddp import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """People who are easier to tell apart than those of the shared images."""
    return write_images(tmp_path_factory.mktemp('data') / 'market1501', contrast=1.0)


def state(runner: Runner) -> dict[str, torch.Tensor]:
    optimizer = runner.optim_wrapper.optimizer
    momenta = [value['momentum_buffer'].flatten() for value in optimizer.state.values()]
    return {**runner.model.state_dict(), 'momenta': torch.cat(momenta)}


def model() -> SupervisedReID:
    torch.manual_seed(0)
    return SupervisedReID(
        backbone=dict(type='TinyBackbone', dropout=0.0),
        neck=dict(type='ReIDNeck', in_channels=32),
        head=dict(type='SupervisedHead', in_channels=32, num_classes=3, id_weight=2.0, triplet_weight=0.5),
    )


def test_losses_are_taken_on_both_sides_of_the_neck():
    net, inputs = model(), torch.randn(4, 3, 64, 32)
    net.assign_identities(torch.tensor([2, 0, 1, 0, 2]))
    samples = [ReIDDataSample(metainfo=dict(sample_idx=index)) for index in (4, 1, 0, 3)]
    labels = torch.tensor([2, 0, 2, 0])
    losses = net.loss(inputs, samples)
    with torch.no_grad():
        before = net.neck.pool(net.backbone(inputs))
        mean, std = before.mean(0), before.var(0, unbiased=False).add(1e-5).sqrt()
        logits = (before - mean) / std @ net.head.classifier.weight.T
        expected = -logits.log_softmax(1)[range(4), labels].mean()
    assert losses['loss_id'].item() == pytest.approx(2 * expected.item(), rel=1e-4)
    assert losses['loss_triplet'].item() == pytest.approx(
        batch_hard_triplet_loss(before, labels).item() / 2, rel=1e-4
    )
    with torch.no_grad():
        before = net.eval().neck.pool(net.backbone(inputs))
        torch.testing.assert_close(net.extract_feat(inputs), before / before.norm(dim=1, keepdim=True))


def test_model_without_identities_and_head_without_classes():
    with pytest.raises(RuntimeError, match='is IdentityLabelHook among the hooks'):
        model().loss(torch.randn(2, 3, 64, 32), [])
    with pytest.raises(ValueError, match='num_classes must be at least 2, got 1'):
        SupervisedHead(8, 1)


def test_label_smoothing_and_margin():
    torch.manual_seed(0)
    head = SupervisedHead(8, 5, label_smoothing=0.1, margin=0.3)
    before, after, labels = torch.randn(6, 8), torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 4, 4])
    losses = head.loss(before, after, labels)
    log_p = (after @ head.classifier.weight.T).log_softmax(1)
    expected = -(0.9 * log_p[range(6), labels] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(losses['loss_id'], expected)
    assert losses['loss_triplet'] == batch_hard_triplet_loss(before, labels, 0.3)


@pytest.mark.slow
def test_identities_are_learned_and_a_resume_changes_nothing(images, tmp_path):
    cfg = source_config(images, tmp_path / 'whole', train_cfg__max_epochs=3, train_cfg__val_interval=3)
    cfg.train_dataloader.sampler.iterations = 15
    cfg.param_scheduler[0].step_size = 2
    whole = train(cfg)
    cfg.work_dir = str(tmp_path / 'resumed')
    resumed = train(cfg, resume=tmp_path / 'whole' / 'epoch_2.pth')
    first, second = state(whole), state(resumed)
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]

    logged = records(whole)
    losses = np.array([record['loss_id'] for record in logged if 'loss_id' in record])
    assert losses[0] == pytest.approx(np.log(8), rel=0.02)
    assert losses[-5:].mean() < 0.8 * losses[0]
    assert any('reid/mAP' in record for record in logged)

    checkpoint = torch.load(tmp_path / 'whole' / 'epoch_3.pth', weights_only=True)
    assert 'pseudo_labels' not in checkpoint
    assert 'identities' not in checkpoint['state_dict']
    pids = whole.train_dataloader.dataset.pids
    assert torch.equal(whole.model.identities, torch.from_numpy(pids) - 1)  # pids of this data set: 1..8


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_equal_one(images, tmp_path):
    cfg = source_config(images, tmp_path / 'one', train_cfg__max_epochs=1)
    cfg.model.backbone.dropout = 0.0  # other masks on every process
    cfg.optim_wrapper.optimizer.lr = 0.01
    one = train(cfg)
    cfg.work_dir = str(tmp_path / 'two')
    two, *_ = run(cfg, tmp_path / 'two', 2)
    torch.testing.assert_close(two['state_dict'], one.model.state_dict(), atol=1e-5, rtol=1e-4)
