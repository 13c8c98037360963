"""Whether a checkpoint is one of the run that is to go on from it."""

import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from mmengine.hooks import EMAHook
from mmengine.runner import Runner
from torch.utils.data import Dataset

from glc.checkpoints import check_same_tensors
from glc.datasets.samplers import RandomIdentitySampler
from glc.engine.loop import EpochLoop
from glc.engine.stored_config import NOT_SET, differences, parse_config
from glc.engine.unwrap import unwrap

__all__ = ['check_resumable', 'training_set_of']

_PARTS = ('meta', 'state_dict', 'message_hub', 'optimizer')
_MOST_FILES = 50_000


def check_resumable(runner: Runner, content: Any, checkpoint: str) -> list[str]:
    """Check that a training can go on from a checkpoint as if it had not been interrupted; nothing is changed.

    Args:
        runner: The runner of the training, with its optimizer built.
        content: Content of the checkpoint.
        checkpoint: Its path.

    Returns:
        Warnings: settings that differ from those in the checkpoint, with both values and which of them is used.

    Raises:
        RuntimeError: If it holds no state of a training, or that of another one; the message has both values.
    """
    start_anew = (
        f'--cfg-options load_from={checkpoint} (without --resume) starts a new training from its weights'
    )
    parts = content if isinstance(content, Mapping) else {}
    missing = [part for part in _PARTS if not isinstance(parts.get(part), Mapping)]
    if missing:
        raise RuntimeError(
            f"'{checkpoint}' holds weights, but no state of a training that could be resumed (no "
            f'{", ".join(missing)}; files of the best network have none): {start_anew}'
        )
    problems = _other_place(runner, content['meta'])
    problems += _other_data(runner, content['meta'].get('training_set'))
    problems += _other_optimizer(runner, content['optimizer'])
    averaged = any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if averaged != ('ema_state_dict' in content):
        words = {True: 'with', False: 'without'}
        problems.append(
            f'averaged weights: {words["ema_state_dict" in content]} them in the checkpoint, {words[averaged]} a hook '
            'that averages in the config'
        )
    try:
        check_same_tensors(unwrap(runner.model), content['state_dict'], checkpoint)
    except RuntimeError as error:
        problems.append(str(error))
    changed, notes = _other_config(runner, content['meta'].get('cfg'))
    problems = changed + problems
    if problems:
        raise RuntimeError(
            f"cannot resume from '{checkpoint}', which is no place in this training:\n  "
            + '\n  '.join(problems)
            + f'\nTake the values of the checkpoint; or {start_anew}'
        )
    return notes


def training_set_of(dataset: Dataset) -> dict[str, Any]:
    """Describe the images of a training set: their number, and a digest of names, identities, cameras and file sizes.

    Of more than 50,000 images, as many are looked at, evenly spread. Folders are left out, so the data may move.

    Args:
        dataset: Data set whose ``get_data_info`` gives ``img_path``, and perhaps ``pid`` and ``cam_id``.

    Returns:
        ``images`` (int) and ``digest`` (str).
    """
    count = len(dataset)  # type: ignore[arg-type]
    digest = hashlib.sha256()
    get_info: Callable[[int], dict] = getattr(dataset, 'get_data_info', lambda index: {})
    for index in np.linspace(0, count - 1, min(count, _MOST_FILES)).astype(int):
        info = get_info(int(index))
        path = info.get('img_path', '')
        size = -1
        with suppress(OSError):
            size = os.stat(path).st_size
        row = (os.path.basename(path), info.get('pid', -1), info.get('cam_id', -1), size)
        digest.update(repr(row).encode('utf-8', 'surrogateescape'))
    return {'images': count, 'digest': digest.hexdigest()[:16]}


def _other_place(runner: Runner, meta: Mapping[str, Any]) -> list[str]:
    """Compare seed and position in the training."""
    problems = []
    epoch, iteration, seed = (meta.get(name) for name in ('epoch', 'iter', 'seed'))
    if seed is not None and seed != runner.seed:
        problems.append(f'randomness.seed: {seed} in the checkpoint, {runner.seed} in this run')
    loop = runner.train_loop
    length = len(runner.train_dataloader)
    sampler = runner.train_dataloader.sampler
    # Where the epoch that has begun did so.
    begin = iteration - meta['within_epoch']['batches'] if 'within_epoch' in meta else iteration
    done: int | None
    if isinstance(sampler, RandomIdentitySampler) and isinstance(epoch, int):  # its epochs differ in length
        done = sum(map(sampler.num_batches, range(epoch)))
    elif getattr(sampler, 'iterations', 0) is None and 'epoch_end' in meta:  # the labels decided the lengths
        done = begin if 'within_epoch' in meta or meta['epoch_end'] == [epoch, iteration] else None
    else:
        done = epoch * length if isinstance(epoch, int) else None
    if not isinstance(loop, EpochLoop):
        problems.append(
            f'it was written after iteration {iteration}: only a training by epochs can be resumed'
        )
    elif done is None or begin != done:
        problems.append(
            f'it was written after iteration {iteration}, and epoch {epoch} of this run ends with iteration '
            f'{"unknown" if done is None else done} ({length} per epoch): only epochs of the same length can be '
            'resumed, within an epoch from files of this version on'
        )
    elif epoch is not None and epoch > loop.max_epochs:
        problems.append(
            f'{epoch} epochs are done in the checkpoint, train_cfg.max_epochs is {loop.max_epochs}'
        )
    return problems


def _other_data(runner: Runner, stored: Any) -> list[str]:
    """Compare the training set; files of earlier versions do not describe it."""
    if not isinstance(stored, Mapping):
        return []
    found = training_set_of(runner.train_dataloader.dataset)
    if stored.get('images') != found['images']:
        return [
            f'training set: {stored.get("images"):,} images in the checkpoint, {found["images"]:,} in this run'
        ]
    if stored.get('digest') != found['digest']:
        return [
            f'training set: {found["images"]:,} images in both, but other files, identities or cameras (digest '
            f'{stored.get("digest")} in the checkpoint, {found["digest"]} in this run)'
        ]
    return []


def _other_optimizer(runner: Runner, stored: Mapping[str, Any]) -> list[str]:
    """Compare the numbers of parameters in the groups."""
    sizes, found = (
        [len(group['params']) for group in groups]
        for groups in (stored['param_groups'], runner.optim_wrapper.optimizer.param_groups)
    )
    if sizes == found:
        return []
    return [
        f'parameters of the optimizer: groups of {_short(sizes)} in the checkpoint, of {_short(found)} in this run'
    ]


def _other_config(runner: Runner, stored: Any) -> tuple[list[str], list[str]]:
    """Compare the configs; return what cannot be resumed, and warnings."""
    try:
        changes = differences(parse_config(stored), parse_config(runner.cfg.pretty_text))
    except (TypeError, SyntaxError, ValueError, RecursionError, MemoryError):
        return [], [
            'the config in the checkpoint cannot be read, so it is not compared with that of this run'
        ]
    problems, notes = [], []
    for key, old, new in changes:
        both = f'{_short(old)} in the checkpoint, {_short(new)} in the config'
        if key.startswith('train_dataloader.sampler.') or key == 'optim_wrapper.optimizer.type':
            problems.append(f'{key}: {both}')
        elif key.startswith(('optim_wrapper.optimizer.', 'optim_wrapper.paramwise_cfg.')):
            notes.append(f'{key.removeprefix("optim_wrapper.")}: {both}; that of the checkpoint is used')
        else:
            notes.append(f'{key}: {both}; that of the config is used')
    return problems, notes


def _short(value: Any) -> str:
    text = value if value == NOT_SET else repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
