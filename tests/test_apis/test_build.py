import json
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config, ConfigDict

from glc.apis import ConfigError, build, build_runner, load_config, load_for_test, prepare_config
from glc.engine.unwrap import unwrap
from tests.runs import ROOT, tiny_config, train


@pytest.mark.parametrize('backend', ['cv2', 'torch'])
def test_resize_backend_reaches_every_pipeline(images, tmp_path, backend):
    cfg = prepare_config(tiny_config(images, tmp_path, resize_backend=backend))
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    resizes = [step for loader in loaders for step in loader.dataset.pipeline if step.type == 'Resize']
    assert [step.backend for step in resizes] == [backend] * 3
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
        'AmpOptimWrapper' if torch.cuda.is_available() and not amp else 'BFloat16OptimWrapper'
    )
    runner = build_runner(cfg)
    runner.train()
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


@pytest.mark.parametrize(
    ('bf16', 'given', 'expected'),
    [
        (True, {}, dict(type='BFloat16OptimWrapper')),
        (True, dict(type='AmpOptimWrapper', dtype='bfloat16'), dict(type='BFloat16OptimWrapper')),
        (True, dict(type='AmpOptimWrapper', loss_scale=64.0), dict(type='AmpOptimWrapper', loss_scale=64.0)),
        (False, {}, dict(type='AmpOptimWrapper')),
    ],
)
def test_precision_and_optimizer_of_a_gpu(monkeypatch, bf16, given, expected):
    """Gradients of float16 are unscaled before a step, which a fused optimizer would do itself."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: bf16)
    wrapper = ConfigDict({'type': 'OptimWrapper', 'optimizer': dict(type='SGD', lr=0.1), **given})
    build._set_precision(wrapper)
    build._set_fused(wrapper)
    fused = dict(fused=True) if expected['type'] == 'BFloat16OptimWrapper' else {}
    assert wrapper == dict(optimizer=dict(type='SGD', lr=0.1, **fused), **expected)


def test_float32_on_a_gpu_has_a_fused_optimizer_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for type, given, expected in (('AdamW', {}, True), ('SGD', dict(fused=False), False), ('LARS', {}, None)):
        wrapper = ConfigDict(type='OptimWrapper', optimizer=dict(type=type, **given))
        build._set_fused(wrapper)
        assert wrapper.optimizer.get('fused') is expected
    build._set_fused(None)


@pytest.mark.parametrize(
    ('options', 'static', 'search'),
    [
        ({}, True, False),
        (dict(find_unused_parameters=True), False, True),
        (dict(optim_wrapper=dict(accumulative_counts=2)), False, False),
    ],
)
def test_processes_use_the_same_parameters_in_every_iteration(options, static, search):
    cfg = Config(options)
    build._wrap_for_processes(cfg)
    assert cfg.model_wrapper_cfg.static_graph is static
    assert cfg.model_wrapper_cfg.find_unused_parameters is search


def test_statistics_of_all_images_or_of_groups(images, tmp_path):
    with pytest.raises(ConfigError, match=r"sync_bn='torch' .* model.bn_group_size=8"):
        prepare_config(tiny_config(images, tmp_path, sync_bn='torch'))


@pytest.mark.slow
def test_mixed_precision_and_compile_keep_the_losses(images, tmp_path):
    """On drawn images, the losses of bfloat16 are within 2 % of those of float32, compiled ones within 0.1 %."""
    losses = {}
    for name, options in (('plain', {}), ('amp', {}), ('compiled', dict(compile=dict(backend='aot_eager')))):
        cfg = tiny_config(images, tmp_path / name, model__backbone__dropout=0.0, **options)
        runner = build_runner(prepare_config(cfg, amp=name == 'amp'))
        runner.train()
        assert (unwrap(runner.model).backbone._compiled_call_impl is None) == (name != 'compiled')
        losses[name] = torch.tensor(runner.message_hub.get_scalar('train/loss').data[0])
    torch.testing.assert_close(losses['amp'], losses['plain'], rtol=0.02, atol=0)
    torch.testing.assert_close(losses['compiled'], losses['plain'], rtol=0.001, atol=0)


@pytest.mark.slow
def test_checkpoint_of_another_model_is_refused(images, tmp_path):
    train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    cfg = tiny_config(images, tmp_path / 'other')
    cfg.model.backbone = dict(type='OSNet', width='x0_25')
    cfg.model.neck.in_channels = 512
    with pytest.raises(RuntimeError, match=r'does not fit the config: .*missing or misshapen tensors'):
        load_for_test(build_runner(prepare_config(cfg)), str(tmp_path / 'epoch_1.pth'))


@pytest.mark.slow
def test_command_line_of_test_py(images, tmp_path, warm):
    runner = train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    cfg = tiny_config(images, tmp_path)
    cfg.custom_imports = dict(imports=['tests.runs'])
    cfg.dump(tmp_path / 'config.py')
    command = [warm, 'tools/test.py', str(tmp_path / 'config.py'), str(tmp_path / 'epoch_1.pth')]
    out = tmp_path / 'scores.json'
    subprocess.run([*command, '--out', str(out), '--work-dir', str(tmp_path / 'test')], cwd=ROOT, check=True)
    assert json.loads(out.read_text())['reid/mAP'] == pytest.approx(
        runner.val_loop.run()['reid/mAP'], abs=0.01
    )
    done = subprocess.run([*command, '--camera-norm'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode
    assert 'no camera has 64 images' in done.stderr + done.stdout


@pytest.mark.slow
def test_missing_checkpoint_and_data_say_what_is_missing(images, tmp_path):
    cfg = tiny_config(images, tmp_path)
    runner = build_runner(prepare_config(cfg))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        load_for_test(runner, 'nowhere.pth')
    with pytest.raises(FileNotFoundError, match='verify_dataset'):
        train(tiny_config(tmp_path / 'no_data', tmp_path))


def test_modules_beside_the_config_and_in_the_current_folder_are_found(tmp_path, monkeypatch):
    here, there = tmp_path / 'here', tmp_path / 'there'
    for folder, name in ((here, 'glc_test_parts_here'), (there, 'glc_test_parts_there')):
        folder.mkdir()
        (folder / f'{name}.py').write_text('imported = True\n')
    config = there / 'leaf.py'
    base = f"_base_ = '{ROOT}/configs/glc/demo_synthetic.py'\n"
    names = "['glc_test_parts_here', 'glc_test_parts_there']"
    config.write_text(f'{base}custom_imports = dict(imports={names})\n')
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    load_config(str(config))
    assert sys.modules['glc_test_parts_here'].imported
    assert sys.modules['glc_test_parts_there'].imported
    config.write_text(f"{base}custom_imports = dict(imports=['glc_test_parts_nowhere'])\n")
    with pytest.raises(ConfigError, match=f"glc_test_parts_nowhere.*'{here}'.*'{there}'.*PYTHONPATH"):
        load_config(str(config))


@pytest.mark.parametrize(
    ('key', 'path'), [('max_epochs', 'train_cfg.max_epochs'), ('vis_backends', 'visualizer.vis_backends')]
)
def test_a_key_without_its_path_is_pointed_to(key, path):
    with pytest.raises(ConfigError, match=f"has no key '{key}'; did you mean '{path}'"):
        load_config(f'{ROOT}/configs/glc/demo_synthetic.py', {key: 3})


@pytest.mark.parametrize(
    ('flags', 'warned'), [('fpu avx2', 1), ('fpu avx512_bf16', 0), ('asimd bf16', 0), (None, 0)]
)
def test_mixed_precision_on_a_cpu_without_bfloat16_is_warned_of(tmp_path, monkeypatch, flags, warned):
    cpuinfo = tmp_path / 'cpuinfo'
    if flags is not None:
        cpuinfo.write_text(f'flags : {flags}')
    monkeypatch.setattr(build, '_CPUINFO', cpuinfo)
    said = []
    monkeypatch.setattr(build, 'print_log', lambda text, *_: said.append(text))
    monkeypatch.setattr(build.torch.cuda, 'is_available', lambda: False)
    prepare_config(tiny_config(tmp_path, tmp_path), amp=True)
    assert sum('leave out --amp' in text for text in said) == warned
