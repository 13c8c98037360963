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

The rules are those of scikit-learn (``_parameter_constraints``), and so are the messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    StrOptions,
    validate_parameter_constraints,
)

from glc.core.neighbors.knn import BACKENDS

__all__ = ['HasMethods', 'Interval', 'StrOptions', 'check_parameters']

Rules = dict[str, list[Any]]

AT_LEAST_ONE = [Interval(Integral, 1, None, closed='left')]
SHARE = [Interval(Real, 0, 1, closed='both')]
INSIDE_UNIT = [Interval(Real, 0, 1, closed='neither')]
POSITIVE_SHARE = [Interval(Real, 0, 1, closed='right')]
NOT_NEGATIVE = [Interval(Real, 0, None, closed='left')]

SEED: Rules = {'seed': [Interval(Integral, 0, None, closed='left')]}
MIN_CLUSTER_SIZE: Rules = {'min_cluster_size': AT_LEAST_ONE}
CUT: Rules = {'cut': INSIDE_UNIT}
AUTO_CUT: Rules = {'cut': [*INSIDE_UNIT, StrOptions({'auto'})], 'max_outliers': SHARE}
FOLLOW: Rules = {'follow_share': SHARE}
# That every k1 is an integer of at least k2 is checked by glc.core.neighbors.jaccard.as_scales.
NEIGHBORHOODS: Rules = {'k1': [*AT_LEAST_ONE, 'array-like'], 'k2': [*AT_LEAST_ONE, 'array-like']}
SEARCH: Rules = {'backend': [StrOptions(set(BACKENDS))]}
CAMERAS: Rules = {'use_cameras': ['boolean']}


def check_parameters(owner: object, values: Mapping[str, Any], rules: Rules) -> None:
    """Check parameters against their rules.

    Args:
        owner: Object or class that has the parameters, for the message.
        values: Parameters by name; those without a rule pass.
        rules: Lists of alternatives by name, as scikit-learn's ``_parameter_constraints``.

    Raises:
        ValueError: A value fits no alternative; the message names the parameter, its owner and what is allowed.

    Example:
        >>> check_parameters('DBSCAN', {'eps': 2.0}, {'eps': INSIDE_UNIT})
        Traceback (most recent call last):
        ...
        sklearn.utils._param_validation.InvalidParameterError: The 'eps' parameter of DBSCAN must be a float in the \
range (0.0, 1.0). Got 2.0 instead.
    """
    name = owner if isinstance(owner, str) else type(owner).__name__
    validate_parameter_constraints(rules, dict(values), caller_name=name)
