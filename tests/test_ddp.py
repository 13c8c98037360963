"""Two and four gloo processes on a CPU give what one process gives."""

import json

import pytest
import torch
import torch.distributed as dist

from glc import JaccardDBSCAN
from glc.registry import PSEUDO_LABELERS
from tests.runs import ROOT, tiny_config, train_by_command, write_images

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


def launch(cfg, folder, processes):
    """Train by the command line."""
    folder.mkdir()
    cfg.dump(folder / 'config.py')
    codes, printed = train_by_command(
        [folder / 'config.py', '--work-dir', folder], processes, folder / 'printed.txt'
    )
    assert codes == [0] * processes, printed[-20000:]


def run(cfg, folder, processes):
    """Train by the command line; returns the last checkpoint and the losses."""
    cfg.custom_imports = dict(imports=['tests.runs'])
    launch(cfg, folder, processes)
    return outcome(folder, cfg.train_cfg.max_epochs)


def outcome(folder, epoch):
    """The checkpoint of an epoch, the losses, and the last score."""
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    losses = [record['loss_contrast'] for record in records if 'loss_contrast' in record]
    scores = [record['reid/mAP'] for record in records if 'reid/mAP' in record]
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=True), losses, scores


@pytest.mark.parametrize('camera_norm', [False, True])
def test_one_two_and_four_processes_are_equal(tmp_path, camera_norm):
    """The labels; weights and losses to float32."""
    images = write_images(tmp_path / 'market1501', per_camera=8 if camera_norm else 3)  # 64 are measured
    runs = {}
    for processes in (1, 2, 4):
        folder = tmp_path / f'p{processes}'
        cfg = tiny_config(images, folder, train_cfg__max_epochs=2, train_cfg__val_interval=2)
        cfg.model.bn_group_size = 4
        if camera_norm:  # and no GLC: its training makes more of rounding
            cfg.default_hooks.pseudo_label.camera_norm = True
        else:
            cfg.default_hooks.pseudo_label.corrector = dict(
                type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2
            )
            cfg.default_hooks.pseudo_label.correct_begin = 1
        cfg.optim_wrapper.optimizer.lr = 1e-3
        cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
        # Dropout draws other masks on every process.
        cfg.model.backbone.dropout = 0.0
        runs[processes] = run(cfg, folder, processes)
    one, losses, scores = runs.pop(1)
    assert len(losses) == 4
    assert len(scores) == 1
    assert not (ROOT / '.dist_test').exists()  # where mmengine gathers results
    for other, other_losses, other_scores in runs.values():
        assert other_scores == pytest.approx(scores, abs=0.1)
        assert torch.equal(one['pseudo_labels']['labels'], other['pseudo_labels']['labels'])
        torch.testing.assert_close(other['pseudo_labels']['centroids'], one['pseudo_labels']['centroids'])
        assert other_losses == pytest.approx(losses, rel=1e-4)
        for part in ('state_dict', 'ema_state_dict'):
            torch.testing.assert_close(other[part], one[part], atol=1e-5, rtol=1e-4)


def test_a_failing_labeler_stops_all_processes(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.default_hooks.pseudo_label.labeler.min_samples = 40
    with pytest.raises(AssertionError, match='found 0 clusters'):
        run(cfg, tmp_path / 'bad', 2)


def test_a_loss_that_is_no_number_stops_all_processes(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.optim_wrapper.optimizer.lr = 1e38
    with pytest.raises(AssertionError, match=r'iteration 2 \(epoch 1\): the loss is .*The images are /'):
        run(cfg, tmp_path / 'bad', 2)
    assert not list((tmp_path / 'bad').glob('*.pth'))


@PSEUDO_LABELERS.register_module()
class FailsOnOneProcess(JaccardDBSCAN):
    """Fails on the second process only, in its second call."""

    calls = 0

    def __call__(self, view):
        self.calls += 1
        if self.calls == 2 and dist.get_rank() == 1:
            raise ZeroDivisionError('only on this process')
        return super().__call__(view)


def test_a_failure_of_one_process_ends_all(tmp_path):
    """The others would wait for the time of dist_cfg.timeout."""
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.default_hooks.pseudo_label.labeler = dict(
        type='FailsOnOneProcess', eps=0.6, k1=6, k2=2, min_samples=2
    )
    cfg.custom_imports = dict(imports=['tests.runs', 'tests.test_ddp'])
    with pytest.raises(AssertionError, match=r'\[rank1\]: ZeroDivisionError: only on this process'):
        launch(cfg, tmp_path / 'bad', 2)


def test_batch_that_cannot_be_shared(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.train_dataloader.batch_size = 15
    cfg.train_dataloader.sampler.update(num_ids=5, num_instances=3)
    with pytest.raises(AssertionError, match='15 images cannot be shared by 2 processes'):
        run(cfg, tmp_path / 'bad', 2)
