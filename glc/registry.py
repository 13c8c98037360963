"""The registries of glc: children of the mmengine roots, plus three of our own.

A component is registered under its class name and built from a config ``dict(type='Name', ...)``. The modules that
register components are imported on the first look-up, so nothing needs to be imported by hand.
"""

import ast
import inspect
from difflib import get_close_matches
from typing import Any

import mmengine.registry as root
from mmengine.registry import Registry as _Registry

__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'HOOKS',
    'LABEL_CORRECTORS',
    'LOOPS',
    'MEMORY_BANKS',
    'METRICS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'PSEUDO_LABELERS',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
]


class Registry(_Registry):
    """A registry of scope ``glc`` that names the closest component where a name is unknown."""

    def get(self, key: str) -> type:
        """Return the class registered as ``key`` here or in a parent registry.

        Raises:
            KeyError: If nothing has that name; the message suggests the closest names.
        """
        try:
            found = super().get(key)
        except RuntimeError:  # mmengine retries an unknown name as an import path
            found = None
        if not callable(found):  # None, or a module of that name
            raise KeyError(f"unknown {self.name} '{key}'{self._suggestion(key)}")
        return found

    def build_text(self, text: str) -> Any:
        """Build what a command line names: ``Name``, ``Name(key=value, ...)`` or ``Name.constructor(key=value, ...)``.

        Raises:
            KeyError: If nothing has that name.
            ValueError: If it is written in another way, arguments are missing or unknown, or a value cannot be.

        Example:
            >>> PSEUDO_LABELERS.build_text('JaccardDBSCAN(eps=0.5)').eps
            0.5
        """
        try:
            node = ast.parse(text, mode='eval').body
            call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
            arguments = {keyword.arg or '**': ast.literal_eval(keyword.value) for keyword in call.keywords}
            if call.args or '**' in arguments:
                raise ValueError
        except (SyntaxError, ValueError):
            raise ValueError(f"'{text}' must be a name, or Name(key=value, ...) with plain values") from None
        name, _, constructor = ast.unparse(call.func).partition('.')
        build = getattr(self.get(name), constructor, None) if constructor else self.get(name)
        if build is None:
            raise KeyError(f"{self.name} '{name}' has no '{constructor}'")
        try:
            inspect.signature(build).bind(**arguments)
        except TypeError as error:
            raise ValueError(f"'{text}': {error}; arguments are given as {name}(key=value, ...)") from None
        return build(**arguments)

    def _suggestion(self, key: str) -> str:
        names = set(self.module_dict)
        parent = self.parent
        while parent is not None:
            names |= set(parent.module_dict)
            parent = parent.parent
        by_lower = {name.lower(): name for name in names}
        close = [by_lower[match] for match in get_close_matches(key.lower(), by_lower, n=3, cutoff=0.5)]
        if close:
            return f': did you mean {" or ".join(repr(name) for name in close)}?'
        return f'; registered in glc: {", ".join(sorted(self.module_dict)) or "nothing"}'


def _child(name: str, parent: _Registry | None, *locations: str, **kwargs: Any) -> Registry:
    return Registry(
        name, parent=parent, scope='glc', locations=[f'glc.{place}' for place in locations], **kwargs
    )


MODELS = _child('model', root.MODELS, 'models')
DATASETS = _child('dataset', root.DATASETS, 'datasets')
DATA_SAMPLERS = _child('data sampler', root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child('transform', root.TRANSFORMS, 'datasets')
HOOKS = _child('hook', root.HOOKS, 'engine')
METRICS = _child('metric', root.METRICS, 'evaluation')
VISUALIZERS = _child('visualizer', root.VISUALIZERS, 'visualization')
MODEL_WRAPPERS = _child('model_wrapper', root.MODEL_WRAPPERS, 'engine')
OPTIMIZERS = _child('optimizer', root.OPTIMIZERS, 'engine')
EVALUATOR = _child('evaluator', root.EVALUATOR)
LOOPS = _child('loop', root.LOOPS)
VISBACKENDS = _child('vis_backend', root.VISBACKENDS)
OPTIM_WRAPPERS = _child('optim_wrapper', root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine'
)
PARAM_SCHEDULERS = _child('parameter scheduler', root.PARAM_SCHEDULERS, 'engine')

PSEUDO_LABELERS = _child('pseudo labeler', None, 'engine')
LABEL_CORRECTORS = _child('label corrector', None, 'engine')
MEMORY_BANKS = _child('memory bank', None, 'models')

# mmengine looks every kind of component up in the default scope and warns where a scope has no such registry.
for _name in (
    'RUNNERS',
    'RUNNER_CONSTRUCTORS',
    'WEIGHT_INITIALIZERS',
    'LOG_PROCESSORS',
    'FUNCTIONS',
):
    globals()[_name] = _child(getattr(root, _name).name, getattr(root, _name))
del _name
