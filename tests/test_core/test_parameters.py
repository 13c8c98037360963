"""Every public class and function says what its parameters may be, and refuses the rest in one form."""

import inspect
from numbers import Integral

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from torch import nn

import glc
from glc import GLC, JaccardDBSCAN, MetricConsensus
from glc.core import (
    clusterers,
    correctors,
    distributed,
    evaluation,
    labelers,
    labels,
    losses,
    memories,
    neighbors,
)
from glc.core.correctors import whitening
from glc.core.labelers.base import BaseLabeler
from glc.core.parameters import Checked, CheckedFields, Interval, Several, StrOptions, check_parameters
from glc.datasets import samplers, transforms
from glc.engine.labeling import LabelEngine

FEATURES = np.repeat(np.eye(3, 8), 6, axis=0) + 0.05 * np.random.default_rng(0).normal(size=(18, 8))
LABELS = np.repeat(np.arange(3), 6)
GRAPH = sparse.csr_array(np.kron(np.eye(2), np.full((4, 4), 0.5)))


class Images:
    """A data set, as far as samplers look at it."""

    cam_ids = np.zeros(20, int)
    pids = np.arange(20) // 4

    def __len__(self):
        return 20


# What an argument without a default gets. Arrays and the like have checks of their own.
GIVEN = dict(
    features=FEATURES,
    labels=LABELS,
    cam_ids=np.arange(18) % 2,
    truth=LABELS,
    old=LABELS,
    new=LABELS,
    distance=GRAPH,
    similarity=GRAPH,
    probabilities=GRAPH,
    views=[(FEATURES, None)],
    graph=neighbors.knn_graph(FEATURES, 6),
    levels=torch.zeros(2, 2),
    query_features=FEATURES,
    gallery_features=FEATURES,
    query_pids=LABELS,
    gallery_pids=LABELS,
    query_cams=np.zeros(18, int),
    gallery_cams=np.ones(18, int),
    indices=[[0]],
    similarities=[[1.0]],
    centroids=np.eye(3),
    bank=torch.eye(3),
    targets=torch.arange(3),
    parameters=[nn.Parameter(torch.ones(1))],
    dataset=Images(),
    parts=((0.0, 1.0),),
    meta_keys=(),
)
PLAIN = dict(
    average=nn.Linear(2, 2),
    module=nn.Linear(2, 2),
    labeler=JaccardDBSCAN(),
    momentum=0.5,
    mode='mean',
    max_norm=1.0,
    start=0.0,
    end=1.0,
    progress=0.5,
    k=3,
    min_samples=2,
    shrinkage=0.3,
    in_features=4,
    num_outputs=4,
    num_classes=4,
    in_channels=4,
    batch_size=4,
)
TENSORS = {memories.momentum_rows: dict(features=torch.eye(3))}


def public():
    """Public classes and functions by name."""
    rooms = (clusterers, correctors, evaluation, labelers, losses, memories, neighbors, samplers, transforms)
    found = {name: getattr(room, name) for room in rooms for name in room.__all__}
    found |= {name: getattr(glc, name) for name in glc._EXPORTS}
    for module in (labels, distributed, whitening):
        own = {
            name: part
            for name, part in vars(module).items()
            if getattr(part, '__module__', '') == module.__name__
        }
        found |= {
            name: part
            for name, part in own.items()
            if name
            in ('PseudoLabels', 'compact_labels', 'cluster_centroids', 'Workers', 'within_class_whitening')
        }
    exceptions = {'UnusableLabelsError', 'EXACT_LIMIT', 'LoadReIDImage'}  # the last takes mmcv's arguments
    return {name: part for name, part in found.items() if name not in exceptions}


def rules_of(part):
    """The rules of a class or function."""
    own = part if not inspect.isclass(part) or issubclass(part, Checked | CheckedFields) else part.__init__
    return getattr(own, '_parameter_constraints', {})


def parameters_of(part):
    """The parameters of a class or function by name."""
    kinds = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    return {
        name: parameter
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.kind not in kinds
    }


PARTS = public()
PAIRS = [
    (name, parameter)
    for name, part in PARTS.items()
    if not inspect.isabstract(part) and part not in (BaseLabeler, labelers.JaccardLabeler)
    for parameter in rules_of(part)
    if parameter in parameters_of(part) and parameter != 'group'
]


def use(part, **chosen):
    """Build an object and call it; or call a function."""
    required = {
        name: {**GIVEN, **PLAIN, **TENSORS.get(part, {})}[name]
        for name, parameter in parameters_of(part).items()
        if parameter.default is inspect.Parameter.empty and name not in chosen
    }
    made = part(**required, **chosen)
    if isinstance(made, clusterers.Clusterer):
        made(GRAPH)
    elif isinstance(made, BaseLabeler):
        made(FEATURES)
    elif isinstance(made, correctors.BaseCorrector):
        made(FEATURES, LABELS)
    return made


def bad_values(rules):
    """Values that no parameter with such rules can mean."""
    bad = [object(), 1j, {}, b'1', np.array([[0.5]])]
    if None not in rules:
        bad.append(None)
    if 'boolean' in rules:
        bad += [0, 1, 'true', 'False']
    if str not in rules:
        bad += ['', 'text', '1', np.array('text')]
    numbers = [rule for rule in rules if isinstance(rule, Interval)]
    if numbers:
        bad += [True, False, np.True_, np.array(True), float('nan'), np.float32('nan'), np.inf, -np.inf]
        bad += [np.array(np.nan), torch.tensor(float('inf'))]
    for rule in numbers:
        ends = [rule.left - (rule.closed in ('left', 'both'))] if rule.left is not None else []
        ends += [rule.right + (rule.closed in ('right', 'both'))] if rule.right is not None else []
        ends += [1.5, 2.0, np.float64(3)] if rule.type is Integral else []
        if isinstance(rule, Several):
            count = rule.count or 1
            bad += [[end] * count for end in (*ends, float('nan'), 'a', True, None, [1])]
            bad += [np.full(count, np.nan), '12', {0.5}] + [[]] * (not rule.empty)
            bad += [[0.5] * (count + 1), [2] * (count + 1)] if rule.count else []
            bad += [[1.0, 0.5]] if rule.rising else []
        else:
            bad += ends
    if not any(isinstance(rule, Several) for rule in rules):
        bad += [[], [1], (0.5, 0.5), np.array([1]), torch.ones(1)]
    return bad


@pytest.mark.parametrize('name', PARTS)
def test_every_parameter_has_rules(name):
    assert set(parameters_of(PARTS[name])) - set(GIVEN) <= set(rules_of(PARTS[name]))


def test_the_table_is_not_empty():
    assert len(PARTS) > 60
    assert len(PAIRS) > 150


@pytest.mark.parametrize(('name', 'parameter'), PAIRS)
def test_bad_values_are_refused_by_name(name, parameter):
    rules = rules_of(PARTS[name])[parameter]
    for value in bad_values(rules):
        with pytest.raises((ValueError, TypeError)) as caught:
            use(PARTS[name], **{parameter: value})
        assert f"'{parameter}' parameter of {name}" in str(caught.value), value


@pytest.mark.parametrize(
    ('name', 'parameter'),
    [
        pair
        for pair in PAIRS
        if isinstance(parameters_of(PARTS[pair[0]])[pair[1]].default, int | float)
        and inspect.isclass(PARTS[pair[0]])
    ],
)
@pytest.mark.parametrize(
    'convert',
    [np.asarray, torch.tensor, lambda value: np.asarray(value)[()]],
    ids=['0-d', 'tensor', 'scalar'],
)
def test_numbers_of_numpy_and_torch_are_plain_numbers(name, parameter, convert):
    part = PARTS[name]
    default = parameters_of(part)[parameter].default
    required = {
        n: {**GIVEN, **PLAIN}[n]
        for n, p in parameters_of(part).items()
        if p.default is inspect.Parameter.empty
    }
    made = part(**required, **{parameter: convert(default)})
    if isinstance(made, Checked):
        made.check()
    assert getattr(made, parameter, default) == pytest.approx(default)
    assert type(getattr(made, parameter, default)) is type(default)


def test_results_do_not_depend_on_the_kind_of_number():
    plain = JaccardDBSCAN(eps=0.5, min_samples=2, k1=8, k2=3)(FEATURES)
    for kind in (np.int64, np.array, torch.tensor):
        found = JaccardDBSCAN(np.float32(0.5), kind(2), kind(8), kind(3), use_cameras=np.False_)(FEATURES)
        np.testing.assert_array_equal(found, plain)
        found = JaccardDBSCAN(0.5, 2, [kind(8)], (kind(3),))(FEATURES)
        np.testing.assert_array_equal(found, plain)


def test_cloning_and_setting_work_with_any_number():
    for part in (JaccardDBSCAN(k1=np.int64(8)), MetricConsensus(seed=np.array(3)), GLC(k=np.int64(20))):
        assert clone(part).get_params() == part.get_params()
        name = next(iter(set(part.get_params()) & {'k1', 'k'}))
        assert clone(part.set_params(**{name: np.array(9)})).get_params()[name] == 9
        part.check()
        assert type(getattr(part, name)) is int


def test_linkings_by_name_and_devices():
    glc = GLC().set_params(linking='components')
    glc.check()
    assert glc.linking == correctors.ComponentLinking()
    with pytest.raises(ValueError, match=r"'device' parameter of GLC must be a device of torch.*gpu"):
        GLC(device='gpu').check()


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        (lambda: neighbors.mean_jaccard_distance([]), 'at least one pair'),
        (
            lambda: neighbors.mean_jaccard_distance([(FEATURES, None), (FEATURES[:9], None)]),
            r'of the same images, got \[18, 9\] images',
        ),
        (lambda: GLC().use_network(nn.Linear(2, 2)), "'network' parameter of GLC.use_network"),
        (
            lambda: JaccardDBSCAN(k1=5, k2=6)(FEATURES),
            'k1 and k2 of JaccardDBSCAN must satisfy 1 <= k2 <= k1',
        ),
        (
            lambda: JaccardDBSCAN(k1=[5, 6], k2=[1, 2, 3])(FEATURES),
            'k2 of JaccardDBSCAN must be one number or as many',
        ),
        (lambda: MetricConsensus(k1=5)(FEATURES, LABELS), 'k1 and k2 of MetricConsensus'),
        (lambda: correctors.LabelPropagation(k1=5)(FEATURES, LABELS), 'k1 and k2 of LabelPropagation'),
        (
            lambda: correctors.LinkTraining(min_nodes=9, max_nodes=8),
            'min_nodes <= max_nodes, got min_nodes=9',
        ),
        (
            lambda: memories.CameraMemory(intra_weight=0, inter_weight=0),
            'weights of CameraMemory must not all be 0',
        ),
        (lambda: distributed.Workers(rank=2, size=2), 'rank < size'),
    ],
)
def test_parameters_that_do_not_fit_each_other(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_label_engine_checks_its_parts_before_any_work():
    with pytest.raises(ValueError, match="'k1' parameter of JaccardDBSCAN"):
        LabelEngine(JaccardDBSCAN(k1='thirty'))
    with pytest.raises(ValueError, match="'shrinkage' parameter of MetricConsensus"):
        LabelEngine(JaccardDBSCAN(), MetricConsensus(shrinkage=0))


def test_messages_are_those_of_scikit_learn():
    rules = {
        'mode': [StrOptions({'mean', 'hard'}), None],
        'area': [Several(Integral, 0, 9, closed='both', count=2, rising=True)],
    }
    with pytest.raises(
        ValueError,
        match=r"The 'mode' parameter of Memory must be a str among {'hard', 'mean'} or None\. Got 3",
    ):
        check_parameters('Memory', {'mode': 3}, rules)
    with pytest.raises(
        ValueError, match=r'must be 2 rising numbers, each int in the range \[0, 9\]\. Got \[3, 1\]'
    ):
        check_parameters('Memory', {'area': [3, 1]}, rules)
