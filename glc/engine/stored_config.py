"""The config in a checkpoint, read as data, and how it differs from that of a run."""

import ast
import re
from collections.abc import Iterator
from typing import Any

__all__ = ['NOT_SET', 'differences', 'parse_config']

NOT_SET = 'not set'

# Settings that leave what is trained as it is, or that a resume compares in another way: places, the machine, logs,
# checkpoints, evaluation, the length and the schedule.
_NEUTRAL = re.compile(
    r'(work_dir|load_from|resume|launcher|experiment_name|log_\w+|visualizer|vis_backends|env_cfg|model_wrapper_cfg'
    r'|compile|image_cache|default_scope|custom_imports|_\w+|train_cfg|val_\w+|test_\w+|param_scheduler'
    r'|default_hooks\.(runtime_info|timer|logger|checkpoint|plain_checkpoint|param_scheduler|sampler_seed|time_budget'
    r'|finite)'
    r'|train_dataloader\.(?!sampler|dataset)\w+'
    r'|train_dataloader\.dataset\.(.*\.)?(data_root|list_file|lmdb|check|unreadable)'
    r'|default_hooks\.pseudo_label\.batch_size|randomness\.seed|.*\.(init_cfg|num_workers|n_jobs))(\.|$)'
)


def parse_config(text: str) -> dict[str, Any]:
    r"""Read the text of a config (``Config.pretty_text``) without running it.

    Args:
        text: Assignments of literals and of ``dict(...)``.

    Returns:
        The values by name; tuples are lists, and what is no literal is its text.

    Raises:
        SyntaxError: If it is no Python.

    Example:
        >>> parse_config("model = dict(type='A', size=(2, 1))\nlimit = inf")
        {'model': {'type': 'A', 'size': [2, 1]}, 'limit': 'inf'}
    """
    return {
        node.targets[0].id: _value(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """List the settings that decide what is trained and differ, as dotted key, old and new value.

    Example:
        >>> differences({'a': {'b': 1, 'c': 2}, 'work_dir': 'x'}, {'a': {'b': 3}, 'work_dir': 'y'})
        [('a.b', 1, 3), ('a.c', 2, 'not set')]
    """
    one, other = dict(_leaves(old)), dict(_leaves(new))
    return [
        (key, one.get(key, NOT_SET), other.get(key, NOT_SET))
        for key in {**one, **other}
        if one.get(key, NOT_SET) != other.get(key, NOT_SET) and not _NEUTRAL.match(key)
    ]


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=items):
            return {str(item.arg): _value(item.value) for item in items}
        case ast.Call(func=ast.Name(id='dict'), args=[inner], keywords=[]):
            return _value(inner)
        case ast.Dict(keys=keys, values=values):
            return {str(key and _value(key)): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _leaves(value: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    items: dict[Any, Any] = {}
    if isinstance(value, dict):
        items = value
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = dict(enumerate(value))
    for key, item in items.items():
        yield from _leaves(item, f'{path}.{key}'.strip('.'))
    if not items:
        yield path, value
