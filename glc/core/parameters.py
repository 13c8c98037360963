"""Parameters that several components share: what they mean, and which values are allowed.

==================  ====================================================================================================
``k1``, ``scales``  Nearest neighbors, itself included, among which reciprocal ones are looked for. Several numbers give
                    the mean of their Jaccard distances.
``k2``              Nearest neighbors, itself included, whose encodings are averaged; at most ``k1``. One number for
                    every ``k1``, or one for each.
``backend``         Search of the neighbors, see :func:`glc.core.neighbors.knn.knn_graph`.
``use_cameras``     Where cameras are known, center the features of each, and take the mean of the distances by plain
                    and by camera-balanced neighbors.
``cut``             Largest Jaccard distance of an edge, in (0, 1). ``'auto'``, where it is allowed, takes it from the
                    data, see :class:`glc.core.clusterers.communities.MapEquationClusterer`.
``max_outliers``    Share of the images that ``cut='auto'`` leaves without a cluster at most, where that is possible.
``min_cluster_size``  Clusters of fewer images become outliers.
``follow_share``    Images without a cluster follow those of their label where more than this share of them is in one
                    cluster.
``seed``            Seed of everything that is drawn at random.
==================  ====================================================================================================

The rules are those of scikit-learn (``_parameter_constraints``), and so are the messages. Two things differ: True and
False are no numbers, and NumPy's numbers, arrays and tensors of no dimension are plain numbers. Every public class and
function has rules:

- Labelers, correctors, clusterers (:class:`Checked`) and dataclasses (:class:`CheckedFields`) declare them in
  ``_parameter_constraints``. The former check them when they are called, so that ``set_params`` and ``clone`` work.
- Functions and modules of torch are decorated: ``@checked(k=AT_LEAST_ONE)``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from numbers import Integral, Real
from typing import Any, ClassVar, ParamSpec, TypeVar

import numpy as np
from sklearn.utils import _param_validation
from sklearn.utils._param_validation import HasMethods, validate_parameter_constraints
from torch import Tensor

__all__ = [
    'Checked',
    'CheckedFields',
    'HasMethods',
    'Interval',
    'Several',
    'StrOptions',
    'check_parameters',
    'checked',
]

Rules = dict[str, list[Any]]
Arguments = ParamSpec('Arguments')
Result = TypeVar('Result')

BACKENDS = ('auto', 'faiss', 'torch', 'approximate')
"""Searches of :func:`glc.core.neighbors.knn.knn_graph`."""


class Interval(_param_validation.Interval):
    """Numbers of an interval; True and False are none."""

    def is_satisfied_by(self, val: Any) -> bool:
        """Say whether a value is allowed."""
        return not isinstance(val, bool) and super().is_satisfied_by(val)


class Several(Interval):
    """A list of numbers of an interval.

    Args:
        kind: ``Integral`` or ``Real``.
        left: Lower bound.
        right: Upper bound; None: no bound.
        closed: See scikit-learn's ``Interval``.
        count: How many numbers; None: any, at least one.
        rising: Whether none may be smaller than the one before.
        empty: Whether an empty list is allowed.
    """

    def __init__(
        self,
        kind: type,
        left: float | None,
        right: float | None,
        *,
        closed: str,
        count: int | None = None,
        rising: bool = False,
        empty: bool = False,
    ) -> None:
        super().__init__(kind, left, right, closed=closed)
        self.count = count
        self.rising = rising
        self.empty = empty

    def is_satisfied_by(self, val: Any) -> bool:
        """Say whether a value is allowed."""
        items = val.tolist() if isinstance(val, np.ndarray | Tensor) else val
        if not isinstance(items, list | tuple | range) or len(items) != (self.count or len(items)):
            return False
        items = [_plain(item) for item in items]
        return (
            (self.empty or len(items) > 0)
            and all(map(super().is_satisfied_by, items))
            and (not self.rising or items == sorted(items))
        )

    def __str__(self) -> str:
        number = super().__str__().removeprefix('an ').removeprefix('a ')
        return f'{self.count or "several"}{" rising" * self.rising} numbers, each {number}'


class StrOptions(_param_validation.StrOptions):
    """Some words, shown in alphabetical order."""

    def __str__(self) -> str:
        return f'a str among {{{", ".join(map(repr, sorted(self.options)))}}}'


INTEGER = [Interval(Integral, None, None, closed='neither')]
NUMBER = [Interval(Real, None, None, closed='neither')]
AT_LEAST_ONE = [Interval(Integral, 1, None, closed='left')]
SHARE = [Interval(Real, 0, 1, closed='both')]
INSIDE_UNIT = [Interval(Real, 0, 1, closed='neither')]
POSITIVE_SHARE = [Interval(Real, 0, 1, closed='right')]
NOT_NEGATIVE = [Interval(Real, 0, None, closed='left')]
POSITIVE = [Interval(Real, 0, None, closed='neither')]
BOOLEAN = ['boolean']

SEED: Rules = {'seed': [Interval(Integral, 0, 2**32 - 1, closed='both')]}
MIN_CLUSTER_SIZE: Rules = {'min_cluster_size': AT_LEAST_ONE}
CUT: Rules = {'cut': INSIDE_UNIT}
AUTO_CUT: Rules = {'cut': [*INSIDE_UNIT, StrOptions({'auto'})], 'max_outliers': SHARE}
FOLLOW: Rules = {'follow_share': SHARE}
SIZES = [*AT_LEAST_ONE, Several(Integral, 1, None, closed='left')]
# That every k1 is at least k2 is checked by glc.core.neighbors.jaccard.as_scales.
NEIGHBORHOODS: Rules = {'k1': SIZES, 'k2': SIZES}
SEARCH: Rules = {'backend': [StrOptions(set(BACKENDS))]}
CAMERAS: Rules = {'use_cameras': BOOLEAN}


def check_parameters(owner: object, values: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Check parameters against their rules.

    Args:
        owner: Object or name of what has the parameters, for the message.
        values: Parameters by name; those without a rule pass.
        rules: Lists of alternatives by name, as scikit-learn's ``_parameter_constraints``.

    Returns:
        The parameters; numbers of NumPy and torch as plain ones.

    Raises:
        ValueError: A value fits no alternative; the message names the parameter, its owner and what is allowed.

    Example:
        >>> check_parameters('DBSCAN', {'eps': 2.0}, {'eps': INSIDE_UNIT})
        Traceback (most recent call last):
        ...
        sklearn.utils._param_validation.InvalidParameterError: The 'eps' parameter of DBSCAN must be a float in the \
range (0.0, 1.0). Got 2.0 instead.
    """
    plain = {name: _plain(value) if name in rules else value for name, value in values.items()}
    name = owner if isinstance(owner, str) else type(owner).__name__
    validate_parameter_constraints(rules, plain, caller_name=name)
    return plain


def _plain(value: Any) -> Any:
    """A number, text or bool of NumPy or torch as one of Python; other values as they are."""
    return value.item() if isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0 else value


class Checked:
    """Mixin of scikit-learn's ``BaseEstimator`` classes that check their parameters when they are called."""

    _parameter_constraints: ClassVar[Rules] = {}

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range.
        """
        given: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name, value in check_parameters(self, given, self._parameter_constraints).items():
            if value is not given[name]:
                setattr(self, name, value)


class CheckedFields:
    """Base of frozen dataclasses that check their fields when they are made.

    Raises:
        ValueError: A field is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = {}

    def __post_init__(self) -> None:
        for name, value in check_parameters(self, vars(self), self._parameter_constraints).items():
            object.__setattr__(self, name, value)


def checked(**rules: list[Any]) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Return a decorator of functions, and of ``__init__``, that checks arguments in every call.

    Args:
        **rules: List of alternatives for each argument, as scikit-learn's ``validate_params``.

    Example:
        >>> @checked(k=AT_LEAST_ONE)
        ... def nearest(k=1):
        ...     return k
        >>> nearest(np.array(3))
        3
        >>> nearest(0)
        Traceback (most recent call last):
        ...
        sklearn.utils._param_validation.InvalidParameterError: The 'k' parameter of nearest must be an int in the \
range [1, inf). Got 0 instead.
    """

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        signature = inspect.signature(function)

        @wraps(function)
        def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            bound = signature.bind(*args, **kwargs)
            owner = args[0] if function.__name__ == '__init__' else function.__qualname__
            given = {name: bound.arguments[name] for name in rules if name in bound.arguments}
            bound.arguments.update(check_parameters(owner, given, rules))
            return function(*bound.args, **bound.kwargs)

        call._parameter_constraints = rules  # type: ignore[attr-defined]
        return call

    return decorate
