"""From a config to a runner."""

import copy
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_world_size, init_dist, is_distributed
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.distributed.rendezvous import rendezvous

from glc.apis.config_checks import (
    ConfigError,
    check_config,
    check_image_sizes,
    check_launcher,
    check_option_keys,
)
from glc.apis.config_names import find_config
from glc.checkpoints import load_model_checkpoint
from glc.datasets import pipeline_of
from glc.engine.processes import ProcessWatch, limited_start
from glc.engine.runner import ReIDRunner
from glc.engine.unwrap import unwrap
from glc.utils.files import full_disk_named
from glc.utils.malloc import keep_freed_memory

_CPUINFO = Path('/proc/cpuinfo')  # of Linux


def load_config(path: str | Path, options: dict | None = None, work_dir: str | None = None) -> Config:
    """Read a config.

    Modules that it names in ``custom_imports`` are also looked for in the current folder and in that of the file.

    Args:
        path: The file, or the name of a config of the package (:func:`~glc.apis.find_config`).
        options: Overrides, dotted keys to values; an index is a key of a list.
        work_dir: Folder of logs and checkpoints; None takes that of the config, else ``work_dirs/NAME``.

    Returns:
        The config, with a ``work_dir``.

    Raises:
        FileNotFoundError: If there is no such config.
        ConfigError: If the file or its bases are no config, nothing reads an override, it has no place, the sizes of
            images differ after it, or a module of ``custom_imports`` cannot be imported.
    """
    path = find_config(path)
    own = [os.getcwd(), str(path.resolve().parent)]
    sys.path += [folder for folder in own if folder not in sys.path]  # last, so that they hide nothing
    try:
        cfg = Config.fromfile(path)
    except ImportError as error:
        cause = error.__cause__ or error
        raise ConfigError(
            f"'{path}': custom_imports: {cause}. Modules of your own are found in the folder where you start Python "
            f"('{own[0]}'), beside the config ('{own[1]}'), and in the folders of PYTHONPATH"
        ) from error
    except FileNotFoundError:  # of _base_; it names the file
        raise
    except Exception as error:  # of any kind, as a config is a program
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.name == '<module>']
        place = ''.join(f" in line {frame.lineno} of '{frame.filename}'" for frame in lines[-1:])
        raise ConfigError(f"'{path}' cannot be read: {type(error).__name__}{place}: {error}") from error
    check_option_keys(cfg, options or {})
    for key, value in (options or {}).items():
        try:
            cfg.merge_from_dict({key: value})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f'option {key}={value!r} does not fit the config: {error}') from error
    check_image_sizes(cfg, training=False)
    cfg.work_dir = work_dir or cfg.get('work_dir') or str(Path('work_dirs', path.stem))
    return cfg


def prepare_config(
    cfg: Config, launcher: str = 'none', amp: bool = False, training: bool = True, evaluating: bool = False
) -> Config:
    """Check a config, and adapt it to the machine it runs on: processes, device, precision and image backend.

    Args:
        cfg: Config as loaded from its file; changed in place.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``. The process group is initialized here, with
            gloo where there is no GPU, and from then on the processes end together
            (:class:`~glc.engine.processes.ProcessWatch`).
        amp: Whether to train in mixed precision: bfloat16, or float16 on a GPU that lacks it.
        training: Whether the config trains; otherwise nothing of its training is checked, nor its batch shared.
        evaluating: Whether it is evaluated on its test set, which must be complete then.

    Returns:
        The same config.

    Raises:
        ConfigError: If the config is wrong.
        ValueError: If the global batch cannot be shared by the processes, or the BatchNorm groups by the batches.
    """
    cfg.setdefault('default_scope', 'glc')
    _leave_out_unused_stages(cfg)
    check_config(cfg, training, evaluating)
    check_launcher(launcher)
    cfg.launcher = launcher
    if not torch.cuda.is_available():
        keep_freed_memory()
    if launcher != 'none' and not is_distributed():
        dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg', {}))
        if not torch.cuda.is_available():
            dist_cfg['backend'] = 'gloo'
        env_cfg = cfg.get('env_cfg', {})
        with limited_start(env_cfg.get('start_timeout')):
            _init_processes(launcher, dist_cfg)
            watch = ProcessWatch(launched=launcher == 'pytorch', stall_timeout=env_cfg.get('stall_timeout'))
        watch.start()
    if is_distributed() and cfg.get('model_wrapper_cfg') is None:
        _wrap_for_processes(cfg)
    if cfg.get('sync_bn') and training and cfg.model.get('bn_group_size'):
        raise ConfigError(
            f'sync_bn={cfg.sync_bn!r} takes the statistics of all images, model.bn_group_size='
            f'{cfg.model.bn_group_size} those of so many: set one of them to None'
        )
    if cfg.get('sync_bn') and not torch.cuda.is_available():
        cfg.pop('sync_bn')
        print_log(
            f'sync_bn needs GPUs: each of {get_world_size()} processes has its own statistics', 'current'
        )
    if amp or (cfg.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper':
        _set_precision(cfg.optim_wrapper)
    if training:
        _set_fused(cfg.get('optim_wrapper'))
        share_batch(cfg, get_world_size())
    _set_resize_backend(cfg)
    return cfg


def build_runner(cfg: Config) -> Runner:
    """Build the runner of a prepared config; its ``load_from`` may be a published model."""
    with full_disk_named(cfg.get('work_dir', '.')):
        return ReIDRunner.from_cfg(cfg)


def build_for_test(
    cfg: Config, checkpoint: str | None, launcher: str = 'none', evaluating: bool = False
) -> Runner:
    """Build the runner of a config as loaded from its file, and load a checkpoint as :func:`load_for_test` does.

    A config whose training or validation is not complete may be tested.

    Args:
        cfg: Config; changed in place.
        checkpoint: File to load, or None.
        launcher: As in :func:`prepare_config`.
        evaluating: As in :func:`prepare_config`.
    """
    cfg.load_from, cfg.resume = None, False
    _leave_out_tensorboard(cfg)  # a test writes no curves
    prepare_config(cfg, launcher, training=False, evaluating=evaluating)
    runner = build_runner(_without_halves(cfg))
    load_for_test(runner, checkpoint)
    return runner


def load_for_test(runner: Runner, checkpoint: str | None) -> None:
    """Put weights into the model of a runner that tests.

    Args:
        runner: Runner of a prepared config.
        checkpoint: File to load, of ours or published; None initializes the model as training would, which
            evaluates a pretrained or source-trained network as it is (direct transfer).

    Raises:
        RuntimeError: If the file does not fit the model.
    """
    model = unwrap(runner.model)
    if checkpoint is None:
        model.init_weights()
    else:
        load_model_checkpoint(model, checkpoint)


def _without_halves(cfg: Config) -> Config:
    """Return the config without a training or validation of which a part is missing: mmengine refuses those."""
    parts = (
        ('train_dataloader', 'train_cfg', 'optim_wrapper'),
        ('val_dataloader', 'val_cfg', 'val_evaluator'),
    )
    halves = [key for part in parts if any(cfg.get(key) is None for key in part) for key in part]
    whole = copy.deepcopy(cfg)
    whole.merge_from_dict(dict.fromkeys(halves))
    if 'optim_wrapper' in halves:
        whole.param_scheduler = None
    return whole


def _leave_out_tensorboard(cfg: Config) -> None:
    visualizer = cfg.get('visualizer') or {}
    if visualizer.get('vis_backends'):
        kept = [part for part in visualizer['vis_backends'] if part.get('type') != 'TensorboardVisBackend']
        visualizer['vis_backends'] = kept


def _init_processes(launcher: str, dist_cfg: dict) -> None:
    store = _store_of_restart() if launcher == 'pytorch' else {}
    if launcher == 'pytorch' and dist_cfg.get('backend') == 'gloo':
        # mmengine selects a GPU first, which fails where there is none.
        timeout = dist_cfg.get('timeout')
        torch.distributed.init_process_group(
            'gloo', timeout=None if timeout is None else timedelta(seconds=timeout), **store
        )
    else:
        init_dist(launcher, **dist_cfg, **store)


def _store_of_restart() -> dict[str, Any]:
    """Return a store of its own for processes that torchrun has started again; empty at the first start.

    torchrun keeps the store of the start before, in which a fast process would find the addresses of dead ones.
    """
    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    if attempt == '0':
        return {}
    store, rank, world_size = next(rendezvous('env://'))
    prefixed = torch.distributed.PrefixStore(f'start_{attempt}', store)  # type: ignore[attr-defined]
    return {'store': prefixed, 'rank': rank, 'world_size': world_size}


def share_batch(cfg: Config, world_size: int) -> None:
    """Divide the global training batch of a config, ``train_dataloader.batch_size``, over processes.

    Args:
        cfg: Config; changed in place.
        world_size: Number of processes.

    Raises:
        ValueError: If the global batch cannot be shared by the processes, or the BatchNorm groups by the batches.
    """
    loader = cfg.get('train_dataloader')
    if loader is None:
        return
    global_batch = loader.batch_size
    if global_batch % world_size:
        raise ValueError(
            f'train_dataloader.batch_size is the global batch; {global_batch} images cannot be shared by '
            f'{world_size} processes'
        )
    loader.batch_size = global_batch // world_size
    group = cfg.model.get('bn_group_size')
    if world_size > 1 and group and loader.batch_size % group:
        raise ValueError(
            f'{world_size} processes get {loader.batch_size} images each, which BatchNorm groups of {group} '
            f'(model.bn_group_size) do not divide: use at most {max(global_batch // group, 1)} processes, or accept '
            'another recipe by changing model.bn_group_size'
        )
    if world_size > 1:
        print_log(
            f'global batch {global_batch} = {world_size} processes x {loader.batch_size}', logger='current'
        )


def _leave_out_unused_stages(cfg: Config) -> None:
    """Take all of an evaluation out of a config that has no loader or no loop for it, as mmengine asks for."""
    for stage in ('test', 'val'):
        loader, loop, evaluator = (f'{stage}_{part}' for part in ('dataloader', 'cfg', 'evaluator'))
        if any(name in cfg and cfg[name] is None for name in (loader, loop)):
            if cfg.get(loader):
                cfg.setdefault('test_pipeline', pipeline_of(cfg[loader].dataset))  # features need it still
            cfg[loader] = cfg[loop] = cfg[evaluator] = None


def _wrap_for_processes(cfg: Config) -> None:
    """Let gradients lie in the buffers that are sent, and every iteration use the same parameters, where it may.

    torch fails on a static graph if gradients are accumulated.
    """
    search = cfg.get('find_unused_parameters', False)
    accumulates = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1) > 1
    cfg.model_wrapper_cfg = {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': search,
        'static_graph': not (search or accumulates),
        'gradient_as_bucket_view': True,
    }
    if not torch.cuda.is_available():
        cfg.model_wrapper_cfg.device_ids = None


def _set_precision(wrapper: ConfigDict) -> None:
    """Choose mixed precision for the device: bfloat16, float16 on a GPU that lacks it or where the config asks for it.

    bfloat16 needs no loss scaling, for which the CPU would wait.
    """
    if torch.cuda.is_available():
        by_config = wrapper.get('type') == 'AmpOptimWrapper' and wrapper.get('dtype') != 'bfloat16'
        if by_config or not torch.cuda.is_bf16_supported(including_emulation=False):
            wrapper.type = 'AmpOptimWrapper'
            return
    elif _CPUINFO.is_file() and 'bf16' not in _CPUINFO.read_text():  # avx512_bf16, amx_bf16, bf16
        print_log(
            'mixed precision on a CPU that does not compute in bfloat16 is many times slower than none: leave out '
            '--amp',
            'current',
            logging.WARNING,
        )
    wrapper.type = 'BFloat16OptimWrapper'
    for key in ('loss_scale', 'dtype'):
        wrapper.pop(key, None)


def _set_fused(wrapper: ConfigDict | None) -> None:
    """Let one kernel update all weights of a GPU, unless gradients of float16 have to be unscaled before."""
    if wrapper is None or not torch.cuda.is_available():
        return
    scaled = wrapper.get('type') == 'AmpOptimWrapper'
    if not scaled and wrapper.optimizer.get('type') in ('SGD', 'Adam', 'AdamW'):
        wrapper.optimizer.setdefault('fused', True)


def _set_resize_backend(cfg: Config) -> None:
    """Write ``cfg.resize_backend`` into every Resize of every pipeline."""
    backend = cfg.get('resize_backend')
    if backend is None:
        return
    for node in _dicts(cfg._cfg_dict):
        if node.get('type') == 'Resize':
            node['backend'] = backend


def _dicts(node: object) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for child in node:
            yield from _dicts(child)
