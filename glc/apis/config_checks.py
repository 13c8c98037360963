"""One check of a config, before anything is built from it."""

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from mmengine.config import Config
from mmengine.hooks import EMAHook, SyncBuffersHook
from mmengine.runner import Runner
from torch.distributed import init_process_group
from torch.utils.data import DataLoader

from glc import registry
from glc.core.evaluation import KReciprocalReranking, QueryExpansion
from glc.core.parameters import AT_LEAST_ONE, NOT_NEGATIVE, Interval, Rules, StrOptions, check_parameters
from glc.datasets.samplers import PseudoIdentitySampler, ShuffledSampler

__all__ = ['ConfigError', 'check_config', 'check_image_sizes', 'check_launcher', 'check_option_keys']


class ConfigError(ValueError):
    """A config has keys or values that cannot be; the message names each with its path."""


_COUNT = [Interval(Integral, 0, None, closed='left')]
_INTERVAL = [*AT_LEAST_ONE, Interval(Integral, -1, 0, closed='left')]
_RULES: Rules = {
    'train_cfg.max_epochs': AT_LEAST_ONE,
    'train_cfg.max_iters': AT_LEAST_ONE,
    'train_cfg.val_interval': AT_LEAST_ONE,
    'train_cfg.val_begin': _COUNT,
    '*_dataloader.batch_size': AT_LEAST_ONE,
    '*_dataloader.num_workers': _COUNT,
    '*_dataloader.sampler.num_ids': AT_LEAST_ONE,
    '*_dataloader.sampler.num_instances': AT_LEAST_ONE,
    '*_dataloader.sampler.iterations': [*AT_LEAST_ONE, None],
    'optim_wrapper.optimizer.lr': NOT_NEGATIVE,
    'optim_wrapper.optimizer.momentum': NOT_NEGATIVE,
    'optim_wrapper.optimizer.weight_decay': NOT_NEGATIVE,
    'optim_wrapper.accumulative_counts': AT_LEAST_ONE,
    'param_scheduler.*.step_size': AT_LEAST_ONE,
    'param_scheduler.*.begin': _COUNT,
    'param_scheduler.*.end': AT_LEAST_ONE,
    'default_hooks.*.interval': _INTERVAL,
    'default_hooks.*.num_workers': _COUNT,
    'default_hooks.*.batch_size': AT_LEAST_ONE,
    'model.bn_group_size': [*AT_LEAST_ONE, None],
    'env_cfg.dist_cfg.timeout': [Interval(Real, 0, None, closed='neither'), None],
    'env_cfg.start_timeout': [Interval(Real, 0, None, closed='neither'), None],
    'env_cfg.stall_timeout': [Interval(Real, 0, None, closed='neither'), None],
    'randomness.seed': [*_COUNT, None],
    'resize_backend': [StrOptions({'pillow', 'torch', 'cv2'}), None],
    'image_cache': [str, os.PathLike],
    'compile': ['boolean', dict, None],
    'find_unused_parameters': ['boolean'],
    'sync_bn': [StrOptions({'torch'}), None],
    'log_level': [StrOptions({'CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'NOTSET'})],
    'load_from': [str, os.PathLike, None],
    'resume': ['boolean', StrOptions({'auto'}), None],
}

# What is read at the top of a config.
_TOP_KEYS = (
    *inspect.signature(Runner).parameters,
    'image_cache',
    'mixed_image_sizes',
    'resize_backend',
    'model_wrapper_cfg',
    'find_unused_parameters',
    'sync_bn',
    'compile',
    'test_pipeline',
)
_PARTS = {
    'training': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'validation': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'evaluation': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}


class _Kind(NamedTuple):
    """What the dicts below a key of the config build.

    Attributes:
        find: Returns the class of a ``type``.
        default: ``type`` where the config names none.
        given: Arguments that the builder adds.
        taken: Keys that the builder takes out.
    """

    find: Callable[[str], Any]
    default: str | None = None
    given: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


_LOADER = _Kind(
    lambda _: DataLoader,
    'DataLoader',
    taken=(
        'batch_sampler',
        'worker_init_fn',
        'collate_fn',
        'num_batch_per_epoch',
        'disable_subprocess_warning',
    ),
)
_LOOP_ARGUMENTS = ('runner', 'dataloader', 'evaluator')
_MODEL = _Kind(registry.MODELS.get)
_METRIC = _Kind(registry.METRICS.get)
_HOOK = _Kind(registry.HOOKS.get, taken=('priority',))
_DATASET = _Kind(registry.DATASETS.get)
_EVALUATOR = _Kind(registry.EVALUATOR.get, 'Evaluator')
_KINDS = {
    'model': _MODEL,
    'backbone': _MODEL,
    'neck': _MODEL,
    'head': _Kind(registry.MODELS.get, given=('in_channels',)),
    'classifier': _Kind(registry.MODELS.get, given=('in_channels', 'num_classes')),
    'data_preprocessor': _MODEL,
    'memory': _Kind(registry.MEMORY_BANKS.get),
    'train_dataloader': _LOADER,
    'val_dataloader': _LOADER,
    'test_dataloader': _LOADER,
    'dataset': _DATASET,
    'datasets': _DATASET,
    'sampler': _Kind(registry.DATA_SAMPLERS.get, given=('dataset', 'seed')),
    'pipeline': _Kind(registry.TRANSFORMS.get),
    'train_cfg': _Kind(registry.LOOPS.get, given=_LOOP_ARGUMENTS, taken=('by_epoch',)),
    'val_cfg': _Kind(registry.LOOPS.get, 'ValLoop', _LOOP_ARGUMENTS),
    'test_cfg': _Kind(registry.LOOPS.get, 'TestLoop', _LOOP_ARGUMENTS),
    'val_evaluator': _METRIC,
    'test_evaluator': _METRIC,
    'metrics': _METRIC,
    'optim_wrapper': _Kind(
        registry.OPTIM_WRAPPERS.get, 'OptimWrapper', taken=('constructor', 'paramwise_cfg')
    ),
    'optimizer': _Kind(registry.OPTIMIZERS.get, given=('params',)),
    'param_scheduler': _Kind(
        registry.PARAM_SCHEDULERS.get, given=('optimizer', 'param_name'), taken=('convert_to_iter_based',)
    ),
    'default_hooks.*': _HOOK,
    'custom_hooks': _HOOK,
    'labeler': _Kind(registry.PSEUDO_LABELERS.get),
    'corrector': _Kind(registry.LABEL_CORRECTORS.get),
    'visualizer': _Kind(registry.VISUALIZERS.get),
    'vis_backends': _Kind(registry.VISBACKENDS.get, given=('save_dir',)),
    'randomness': _Kind(lambda _: Runner.set_randomness, 'randomness'),
    'rerank': _Kind(lambda _: KReciprocalReranking, 'KReciprocalReranking'),
    'query_expansion': _Kind(lambda _: QueryExpansion, 'QueryExpansion'),
}
# Keys of the dicts that no constructor gets.
_KEYS = {
    'env_cfg': ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit', 'start_timeout', 'stall_timeout'),
    'env_cfg.mp_cfg': ('mp_start_method', 'opencv_num_threads'),
    'env_cfg.dist_cfg': ('init_backend', 'port', *inspect.signature(init_process_group).parameters),
    'optim_wrapper.paramwise_cfg': (
        'custom_keys',
        'bias_lr_mult',
        'bias_decay_mult',
        'norm_decay_mult',
        'flat_decay_mult',
        'dwconv_decay_mult',
        'dcn_offset_lr_mult',
        'bypass_duplicate',
    ),
}
# How processes are started, and the variables that this sets.
_LAUNCHERS = {
    'pytorch': ('torchrun --nproc_per_node=N', ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')),
    'slurm': ('srun', ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST')),
    'mpi': (
        'mpirun (and set MASTER_ADDR)',
        ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK', 'MASTER_ADDR'),
    ),
}
# Hooks of mmengine that take every buffer of a network for an average, and a table of labels for one too.
_REPLACED_HOOKS = {EMAHook: 'MeanTeacherHook', SyncBuffersHook: 'AverageBatchNormHook'}
_SIZE_KEYS = {'Resize': 'scale', 'PadRandomCrop': 'size', 'PartMultiCrop': 'global_size'}
_SIZE_KEEPERS = {
    'ColorJitter',
    'LoadImageFromFile',
    'LoadReIDImage',
    'PackMultiCrop',
    'PackReIDInputs',
    'RandomErasing',
    'RandomFlip',
    'RandomGrayscale',
}


def check_config(cfg: Config, training: bool = True, evaluating: bool = False) -> None:
    """Check a config: what is missing, unknown names and arguments, types and ranges of values, and what must agree.

    Args:
        cfg: Config as loaded from its file, before :func:`~glc.apis.prepare_config` divides the batch.
        training: Whether the config trains; otherwise its training and validation are not looked at.
        evaluating: Whether it is evaluated on its test set.

    Raises:
        ConfigError: Something is wrong; the message has a line for each, with the path of the key, the value and what
            is allowed.
    """
    parts = ['training', 'validation', 'evaluation'] if training else ['evaluation']
    required = {'training': training, 'evaluation': evaluating}
    problems = list(_missing_parts(cfg, {part: required.get(part, False) for part in parts}))
    used = {key for part in parts for key in _PARTS[part]} | ({'param_scheduler'} if training else set())
    ignored = {key for keys in _PARTS.values() for key in keys} | {'param_scheduler'}
    found = {
        path: value
        for key, node in cfg.items()
        if not key.startswith('_') and (key in used or key not in ignored)
        for path, value in _walk(key, node)
    }
    problems += _unknown_keys(cfg, found)
    problems += _out_of_range(found)
    for path, node in found.items():
        kind = _EVALUATOR if f'{path}.metrics' in found else _KINDS.get(_key_of(path))
        if kind is not None and isinstance(node, Mapping):
            problems += _wrong_component(path, node, kind, found)
        elif kind is not None and not isinstance(node, (list, tuple, bool, NoneType)):
            problems.append(f'{path} must be a dict with a type, got {_shown(node)}')
    if not problems and training:
        problems += _wrong_batch(cfg)
        problems += _unknown_scores(cfg, found)
    _raise(problems)
    check_image_sizes(cfg, training)


def check_image_sizes(cfg: Config, training: bool = True) -> None:
    """Check that training, labeling and evaluation see images of one size, and that of the network.

    A config that means its different sizes says ``mixed_image_sizes=True``.

    Args:
        cfg: The config.
        training: Whether the config trains. If it does not, and its network is built for one size, the pipelines of its
            training do not count: such a network is tested at another size by a change of both.

    Raises:
        ConfigError: The sizes differ; the message names every size and the keys that it comes from.
    """
    if cfg.get('mixed_image_sizes'):
        return
    places: dict[tuple[int, int], list[str]] = {}
    for size in _size_of_network(cfg):
        places[size] = ['model.backbone.img_size']
    roots = ['test_dataloader']
    if training or not places:
        roots += ['train_dataloader', 'val_dataloader', 'default_hooks', 'custom_hooks']
    for root in roots:
        for path, node in _walk(root, cfg.get(root)):
            if path.endswith('.pipeline') and isinstance(node, Sequence):
                for size, place in _size_of_pipeline(path, node):
                    places.setdefault(size, []).append(place)
    if len(places) > 1:
        sizes = '; '.join(f'{size[0]} x {size[1]}: {", ".join(keys)}' for size, keys in places.items())
        raise ConfigError(
            f'images of different sizes (width x height) in one config: {sizes}. Give all one size (img_size is height '
            'first), or set mixed_image_sizes=True if they are meant to differ'
        )


def check_option_keys(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check that overrides are of keys that something reads.

    Args:
        cfg: The config, before the overrides.
        options: Dotted keys to values.

    Raises:
        ConfigError: The first part of a key is neither in the config nor known to the runner.
    """
    known = {*cfg, *_TOP_KEYS}
    _raise(
        f"option {key}={_shown(value)}: a config has no key '{key.partition('.')[0]}'"
        f'{_paths_to(cfg, key) or _suggestion(key.partition(".")[0], known)}'
        for key, value in options.items()
        if key.partition('.')[0] not in known
    )


def check_launcher(launcher: str) -> None:
    """Check that processes were started as a launcher says.

    Raises:
        ConfigError: Variables of the environment that the launcher sets are missing, or those of torchrun are there and
            no launcher was named: every process would train by itself.
    """
    start, variables = _LAUNCHERS.get(launcher, ('', ()))
    missing = [name for name in variables if name not in os.environ]
    if missing:
        raise ConfigError(
            f"launcher '{launcher}': the environment has no {', '.join(missing)}. Start the processes with {start}, or "
            "leave out the launcher ('none') for one process"
        )
    if (
        launcher == 'none'
        and 'TORCHELASTIC_RUN_ID' in os.environ
        and os.environ.get('WORLD_SIZE', '1') != '1'
    ):
        raise ConfigError(
            f"torchrun started {os.environ['WORLD_SIZE']} processes, but the launcher is 'none': add --launcher pytorch"
        )


def _missing_parts(cfg: Config, required: Mapping[str, bool]) -> Iterator[str]:
    if not cfg.get('model'):
        yield 'model is missing: it must be a dict with a type'
    for part, needed in required.items():
        absent = [key for key in _PARTS[part] if cfg.get(key) is None]
        if absent and (needed or len(absent) < len(_PARTS[part])):
            yield (
                f'{" and ".join(absent)} {"is" if len(absent) == 1 else "are"} missing: {part} needs '
                f'{", ".join(_PARTS[part])}' + ('' if needed else ', or none of them')
            )


def _paths_to(cfg: Config, key: str) -> str:
    """Suggest the keys of that name further down."""
    paths = [path for path in _nodes(cfg) if path.endswith(f'.{key}')][:3]
    return f'; did you mean {" or ".join(map(repr, paths))}?' if paths else ''


def _unknown_keys(cfg: Config, found: Mapping[str, Any]) -> Iterator[str]:
    """Find keys that nothing reads: in plain dicts, and misspelt ones at the top, where own names may be."""
    nodes = _nodes(cfg)
    for key, value in cfg.items():
        if key in _TOP_KEYS or key.startswith('_'):
            continue
        close = get_close_matches(key, _TOP_KEYS, n=1, cutoff=0.85)
        # A variable of the file was read where its value is found: a number as it is, text within any other text.
        deeper = [node for path, node in nodes.items() if path.endswith(f'.{key}')]
        texts = [node for path, node in nodes.items() if path != key and isinstance(node, str)]
        unused = deeper and (
            not any(value in text for text in texts)
            if isinstance(value, str)
            else isinstance(value, Real) and value not in deeper
        )
        hint = f"; did you mean '{close[0]}'?" if close else _paths_to(cfg, key) if unused else ''
        if hint:
            yield f'{key}: nothing reads this key{hint} (a name of your own begins with _)'
    for path, known in _KEYS.items():
        node = found.get(path)
        if isinstance(node, Mapping) and not (
            path.endswith('paramwise_cfg') and cfg.optim_wrapper.get('constructor')
        ):
            for key in node.keys() - set(known):
                yield f'{path}.{key}={_shown(node[key])}: nothing reads this key{_suggestion(key, known)}'


def _out_of_range(found: Mapping[str, Any]) -> Iterator[str]:
    for path, value in found.items():
        for pattern, rule in _RULES.items():
            if path.count('.') == pattern.count('.') and fnmatchcase(path, pattern):
                try:
                    check_parameters('the config', {path: value}, {path: rule})
                except ValueError as error:
                    yield str(error)


def _wrong_component(path: str, node: Mapping, kind: _Kind, found: Mapping[str, Any]) -> Iterator[str]:
    """Find what a constructor would refuse."""
    name = node.get('type', kind.default)
    if path == 'train_cfg' and name is None:
        name = 'EpochBasedTrainLoop' if node.get('by_epoch', True) else 'IterBasedTrainLoop'
    if name is None:
        parent, _, last = path.rpartition('.')
        beside = found.get(parent)
        names = set(beside) - {last} if isinstance(beside, Mapping) else ()
        yield (
            f'{path}.type is missing; {path} has {", ".join(node) or "no key at all"}{_suggestion(last, names)}'
        )
        return
    if not isinstance(name, str) and not callable(name):
        yield f'{path}.type must be the name of a component, got {_shown(name)}'
        return
    if '_scope_' in node:
        return
    try:
        component = kind.find(name) if isinstance(name, str) else name
    except KeyError as error:
        yield f'{path}.type: {error.args[0]}'
        return
    yield from _refused_hook(path, component)
    parameters, takes_others = _parameters_of(component)
    own = {key: value for key, value in node.items() if key not in ('type', *kind.taken)}
    name = component.__name__
    strange = [] if takes_others else [key for key in own if key not in parameters]
    for key in strange:
        yield (
            f'{path}.{key}={_shown(own[key])}: {name} has no such argument'
            f'{_suggestion(key, set(parameters) - set(kind.given))}'
        )
    others = [other for other in _others_with(strange, kind) if other != name]
    if others:
        last = path.rpartition('.')[2]
        yield (
            f'{path}: {", ".join(strange)} of {" or ".join(others[:2])} may be inherited. Add _delete_=True, which '
            f"replaces the inherited part: {last}=dict(_delete_=True, type='{node.get('type', name)}', ...)"
        )
    for key, value in own.items():
        if key in parameters and not parameters[key].fits(value):
            yield f'{path}.{key} of {name} must be {parameters[key].expected}, got {_shown(value)}'
    for key, parameter in parameters.items():
        if parameter.required and key not in (*own, *kind.given) and kind is not _LOADER:
            yield f'{path}.{key} is missing: {name} needs it'
    if kind is _LOADER:
        needed = ['dataset', 'sampler', *['batch_size'] * (path == 'train_dataloader')]
        yield from (f'{path}.{key} is missing' for key in needed if own.get(key) is None)
    if path.endswith('_dataloader.dataset') and 'pipeline' in parameters and not own.get('pipeline'):
        yield f'{path}.pipeline is missing: it must be a list of transforms, from LoadReIDImage to PackReIDInputs'


def _others_with(names: Sequence[str], kind: _Kind) -> list[str]:
    """Components of a kind that have all of these arguments."""
    parts = getattr(getattr(kind.find, '__self__', None), 'module_dict', {}) if names else {}
    return [name for name, part in parts.items() if set(names) <= set(_parameters_of(part)[0])]


def _refused_hook(path: str, component: Any) -> Iterator[str]:
    for hook, better in _REPLACED_HOOKS.items():
        if component is hook:
            yield (
                f'{path}.type={hook.__name__} works on all buffers of a network, where pseudo labels and memory are '
                f'too: use {better}'
            )


def _wrong_batch(cfg: Config) -> Iterator[str]:
    """Find a batch that is not the sampler's."""
    loader = cfg.train_dataloader
    sampler = _built_class(registry.DATA_SAMPLERS, loader.sampler)
    if sampler is PseudoIdentitySampler:
        defaults = _parameters_of(sampler)[0]
        ids, instances = (
            loader.sampler.get(key, defaults[key].default) for key in ('num_ids', 'num_instances')
        )
        if ids * instances != loader.batch_size:
            yield (
                f'train_dataloader.batch_size={loader.batch_size} must be {ids * instances}, '
                f'train_dataloader.sampler.num_ids={ids} x num_instances={instances}'
            )
    elif sampler is ShuffledSampler and loader.sampler.batch_size != loader.batch_size:
        yield (
            f'train_dataloader.batch_size={loader.batch_size} must be '
            f'train_dataloader.sampler.batch_size={loader.sampler.batch_size}'
        )


def _unknown_scores(cfg: Config, found: Mapping[str, Any]) -> Iterator[str]:
    """Find scores that hooks wait for and no metric gives, where all metrics tell their scores."""
    if cfg.get('val_evaluator') is None:
        return
    metrics = [
        registry.METRICS.build(node)
        for path, node in found.items()
        if _key_of(path) in ('val_evaluator', 'metrics') and path.startswith('val_evaluator')
        if isinstance(node, Mapping) and 'metrics' not in node
    ]
    if not all(hasattr(metric, 'score_names') for metric in metrics):
        return
    names = [name for metric in metrics for name in metric.score_names]
    for path, value in found.items():
        if path.split('.')[0] in ('default_hooks', 'custom_hooks') and path.endswith(
            ('.save_best', '.monitor')
        ):
            for score in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(score, str) and score not in ('auto', *names):
                    yield (
                        f"{path}='{score}' is no score of val_evaluator{_suggestion(score, names)}; there are "
                        f'{", ".join(names)}'
                    )


def _size_of_pipeline(path: str, pipeline: Sequence) -> Iterator[tuple[tuple[int, int], str]]:
    """Give the size (width, height) that a pipeline ends with and its key; nothing where a step is not known.

    Raises:
        ConfigError: What a step of any place has as a size is none.
    """
    at_end = True
    for index, step in reversed(list(enumerate(pipeline))):
        name = step.get('type') if isinstance(step, Mapping) else None
        name = name if isinstance(name, str) else None
        if name in _SIZE_KEYS:
            key = _SIZE_KEYS[name]
            size = step.get(key, _parameters_of(registry.TRANSFORMS.get(name))[0][key].default)
            pair = None if size is None else _pair(size, f'{path}.{index}.{key}')
            if at_end and pair and not step.get('keep_ratio'):
                yield pair, f'{path}.{index} ({name}.{key})'
        at_end = at_end and name in _SIZE_KEEPERS


def _size_of_network(cfg: Config) -> Iterator[tuple[int, int]]:
    """Give the size (width, height) of the images that the backbone is built for, if it is for one only."""
    backbone = (cfg.get('model') or {}).get('backbone')
    if not isinstance(backbone, Mapping):
        return
    size = backbone.get('img_size')
    if size is None and 'type' in backbone:
        parameters = _parameters_of(_built_class(registry.MODELS, backbone))[0]
        size = parameters['img_size'].default if 'img_size' in parameters else None
    if size is not None:
        height, width = _pair(size, 'model.backbone.img_size')
        yield width, height


def _pair(size: Any, key: str) -> tuple[int, int]:
    pair = tuple(size) if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(type(number) is int and number > 0 for number in pair):
        raise ConfigError(f'{key}={size!r} is no size: give one integer of at least 1, or two')
    return pair


class _Parameter(NamedTuple):
    """Parameter of a constructor."""

    default: Any
    annotation: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty

    @property
    def expected(self) -> str:
        text = inspect.formatannotation(self.annotation)
        return text.replace('typing.', '').replace('collections.abc.', '')

    def fits(self, value: Any) -> bool:
        """Return whether the annotation allows a value, or says nothing that is understood here."""
        if value is None and self.default is None:
            return True
        union = get_origin(self.annotation) in (Union, UnionType)
        for allowed in get_args(self.annotation) if union else (self.annotation,):
            allowed = get_origin(allowed) or allowed
            if allowed not in _ACCEPTED and not _is_own_class(allowed):
                return True
            if isinstance(value, bool) and allowed in (int, float):
                continue
            if isinstance(value, _ACCEPTED.get(allowed, allowed)):
                return True
        return False


_ACCEPTED: dict[Any, Any] = {
    int: Integral,
    float: Real,
    bool: bool,
    str: (str, os.PathLike),
    NoneType: NoneType,
    dict: Mapping,
    Mapping: Mapping,
    list: (list, tuple),
    tuple: (list, tuple),
    Sequence: (list, tuple),
}


def _is_own_class(annotation: Any) -> bool:
    return inspect.isclass(annotation) and annotation.__module__.split('.')[0] == 'glc'


@cache
def _parameters_of(component: Callable) -> tuple[dict[str, _Parameter], bool]:
    """Parameters of a constructor or function by name, and whether it may take others.

    Where a constructor hands to its base class what it does not name, the parameters of that one follow.
    """
    constructors = (
        [vars(base)['__init__'] for base in component.__mro__[:-1] if '__init__' in vars(base)]
        if inspect.isclass(component)
        else [component]
    )
    found: dict[str, _Parameter] = {}
    for constructor in constructors:
        parameters = inspect.signature(constructor).parameters.values()
        hints = _hints(constructor)
        for parameter in parameters:
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name != 'self':
                found.setdefault(
                    parameter.name, _Parameter(parameter.default, hints.get(parameter.name, Any))
                )
        others = [parameter.name for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
        if not others:
            return found, False
        if not _only_passes_on(constructor, others[0]):
            break
    return found, bool(constructors)


def _only_passes_on(constructor: Callable, name: str) -> bool:
    """Return whether a constructor uses its ``**name`` for nothing but the constructor of its base class."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except OSError:
        return False
    nodes = list(ast.walk(tree))
    used = sum(isinstance(node, ast.Name) and node.id == name for node in nodes)
    passed_on = any(
        isinstance(node, ast.Call)
        and ast.unparse(node.func) == 'super().__init__'
        and any(keyword.arg is None and ast.unparse(keyword.value) == name for keyword in node.keywords)
        for node in nodes
    )
    return passed_on and used == 1


def _hints(function: Callable) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (NameError, TypeError):  # names that exist for type checkers only
        return {}


def _built_class(parts: registry.Registry, node: Mapping) -> Any:
    return parts.get(node['type']) if isinstance(node['type'], str) else node['type']


def _nodes(cfg: Config) -> dict[str, Any]:
    """Everything in a config, by its path."""
    return {path: node for key in cfg for path, node in _walk(key, cfg[key])}


def _walk(path: str, node: Any) -> Iterator[tuple[str, Any]]:
    yield path, node
    if isinstance(node, (Mapping, list, tuple)):
        for key, child in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _walk(f'{path}.{key}', child)


def _key_of(path: str) -> str:
    """Key of ``_KINDS`` for a path: its last part that is no index."""
    parts = [part for part in path.split('.') if not part.isdigit()]
    return 'default_hooks.*' if parts[0] == 'default_hooks' and len(parts) == 2 else parts[-1]


def _shown(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else repr(value)


def _suggestion(name: str, names: Any) -> str:
    close = get_close_matches(name, map(str, names), n=3, cutoff=0.6)
    return f'; did you mean {" or ".join(map(repr, close))}?' if close else ''


def _raise(problems: Any) -> None:
    problems = list(problems)
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        raise ConfigError(
            '\n'.join([f'{len(problems)} errors in the config:', *(f'  {line}' for line in problems)])
        )
