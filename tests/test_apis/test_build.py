import json
import subprocess
import sys

import pytest
import torch

from glc.apis import build_runner, load_for_test, prepare_config
from tests.runs import ROOT, tiny_config, train


def test_resize_backend_reaches_every_pipeline(images, tmp_path):
    cfg = prepare_config(tiny_config(images, tmp_path, resize_backend='cv2'))
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    resizes = [step for loader in loaders for step in loader.dataset.pipeline if step.type == 'Resize']
    assert [step.backend for step in resizes] == ['cv2'] * 3
    with pytest.raises(ValueError, match=r"resize_backend.*'pillow'"):
        prepare_config(tiny_config(images, tmp_path, resize_backend='pil'))


@pytest.mark.slow
@pytest.mark.parametrize('amp', [True, False])
def test_amp_trains_on_a_cpu(images, tmp_path, amp):
    """Asked for on the command line, or by the config."""
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1)
    if not amp:
        cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    prepare_config(cfg, amp=amp)
    assert cfg.optim_wrapper.type == (
        'AmpOptimWrapper' if torch.cuda.is_available() else 'CPUAmpOptimWrapper'
    )
    runner = build_runner(cfg)
    runner.train()
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


@pytest.mark.slow
def test_checkpoint_of_another_model_is_refused(images, tmp_path):
    train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    cfg = tiny_config(images, tmp_path / 'other')
    cfg.model.backbone = dict(type='OSNet', width='x0_25')
    cfg.model.neck.in_channels = 512
    with pytest.raises(RuntimeError, match=r'does not fit the config: .*missing or misshapen tensors'):
        load_for_test(build_runner(prepare_config(cfg)), str(tmp_path / 'epoch_1.pth'))


@pytest.mark.slow
def test_command_line_of_test_py(images, tmp_path):
    runner = train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    cfg = tiny_config(images, tmp_path)
    cfg.custom_imports = dict(imports=['tests.runs'])
    cfg.dump(tmp_path / 'config.py')
    command = [sys.executable, 'tools/test.py', str(tmp_path / 'config.py'), str(tmp_path / 'epoch_1.pth')]
    out = tmp_path / 'scores.json'
    subprocess.run([*command, '--out', str(out), '--work-dir', str(tmp_path / 'test')], cwd=ROOT, check=True)
    assert json.loads(out.read_text())['reid/mAP'] == pytest.approx(
        runner.val_loop.run()['reid/mAP'], abs=0.01
    )


def test_missing_checkpoint_and_data_say_what_is_missing(images, tmp_path):
    cfg = tiny_config(images, tmp_path)
    runner = build_runner(prepare_config(cfg))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_for_test(runner, 'nowhere.pth')
    with pytest.raises(FileNotFoundError, match='verify_dataset'):
        train(tiny_config(tmp_path / 'no_data', tmp_path))
