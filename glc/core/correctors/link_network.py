"""Graph convolution and link head: how likely do two neighboring images show the same person?

The network of GLC: ``h = ReLU([x, A x] W + b)`` per image, then a two-layer classifier on ``[h_i, h_j]`` per
pair. Two identities save work without changing the result: ``A x`` holds no weight, so it is computed once
per graph (:func:`aggregate_neighbors`), and the first layer of the classifier splits into
``W_1 h_i + W_2 h_j``, two products per image instead of one per pair (:meth:`LinkPredictor.encode`).
"""

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from glc.core.neighbors.knn import KNNGraph, neighbor_matrix
from glc.core.parameters import AT_LEAST_ONE, checked


def normalized_adjacency(graph: KNNGraph) -> sparse.csr_array:
    """Row-normalised adjacency of a kNN graph, the ``A`` of graph label correction's convolution.

    Edge weights are the similarities clipped to [0, 1], without self loops; the graph is made symmetric with
    the element-wise maximum, the identity is added, and every row is divided by its sum.

    Args:
        graph: kNN graph of N images.

    Returns:
        float32 sparse matrix (N, N) with rows that sum to 1.
    """
    num_nodes = graph.num_nodes
    indices, similarities = graph.numpy()
    is_self = indices == np.arange(num_nodes)[:, None]
    adjacency = neighbor_matrix(indices, np.where(is_self, np.float32(0), similarities.clip(0, 1)))
    adjacency = adjacency.maximum(adjacency.T) + sparse.eye_array(num_nodes, dtype=np.float32, format='csr')
    adjacency.eliminate_zeros()
    adjacency.sort_indices()
    sums = adjacency.sum(axis=1)
    adjacency.data /= np.repeat(sums, np.diff(adjacency.indptr))
    return adjacency


def aggregate_neighbors(features: Tensor, adjacency: sparse.csr_array, rows: slice = slice(None)) -> Tensor:
    """Put the weighted mean of its neighbors beside the feature of every image: ``[x, A x]``.

    Args:
        features: (N, D) float32.
        adjacency: (N, N) sparse, rows sum to 1, as :func:`normalized_adjacency` gives it.
        rows: The M images to do this for, all by default.

    Returns:
        (M, 2 D) float32 on the device of ``features``, the input of :class:`GraphConvolution`.
    """
    own = adjacency[rows]
    if features.device.type == 'cpu':
        neighbors = torch.from_numpy(own @ features.numpy())
    else:
        columns, starts, weights = (
            torch.from_numpy(part).to(features.device) for part in (own.indices, own.indptr, own.data)
        )
        neighbors = F.embedding_bag(
            columns, features, starts, mode='sum', per_sample_weights=weights, include_last_offset=True
        )
    return torch.cat([features[rows], neighbors], dim=1)


class GraphConvolution(nn.Module):
    """One graph convolution, ``h = ReLU([x, A x] W + b)``, on inputs that already hold ``A x``.

    Args:
        in_features: D, channels of ``x``.
        out_features: H, channels of ``h``.

    Example:
        >>> import torch
        >>> GraphConvolution(4, 8)(torch.rand(10, 2 * 4)).shape
        torch.Size([10, 8])
    """

    @checked(in_features=AT_LEAST_ONE, out_features=AT_LEAST_ONE)
    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map ``[x, A x]`` (N, 2 D) to ``h`` (N, H)."""
        return torch.addmm(self.bias, inputs, self.weight).relu_()


class LinkPredictor(nn.Module):
    """The network of GLC: a graph convolution and a classifier of image pairs.

    The parameters have the names and shapes of the published weights: the ``state_dict`` is the union of the
    published backbone (``conv1.*``) and head (``classifier.*``).

    Args:
        in_features: D, channels of the features.
        hidden_dim: H, channels of the graph convolution and of the classifier's hidden layer.

    Example:
        >>> import torch
        >>> from scipy import sparse
        >>> features, adjacency = torch.rand(10, 4), sparse.csr_array(sparse.eye(10, dtype='float32'))
        >>> network = LinkPredictor(in_features=4, hidden_dim=8)
        >>> pairs = torch.tensor([[0, 0, 3], [1, 2, 4]])
        >>> network(aggregate_neighbors(features, adjacency), *pairs).shape
        torch.Size([3, 2])
    """

    @checked(in_features=AT_LEAST_ONE, hidden_dim=AT_LEAST_ONE)
    def __init__(self, in_features: int, hidden_dim: int = 512) -> None:
        super().__init__()
        self.conv1 = GraphConvolution(in_features, hidden_dim)
        self.classifier = nn.Sequential(
            nn.Linear(2 * hidden_dim, hidden_dim),
            nn.PReLU(hidden_dim),
            nn.Linear(hidden_dim, 2),
        )

    @torch.no_grad()
    def start_as_distance(self) -> None:
        """Start the classifier as a distance between ``h_i`` and ``h_j`` instead of at random.

        Every hidden channel becomes ``|w (h_i - h_j)|`` (opposite weights for the two images, no bias, PReLU
        slopes of -1) and speaks against "same person" (signs of the output layer). From a random start such
        channels have to be learnt first; the published weights have grown some.
        """
        parameter = self.classifier.get_parameter
        first, second = parameter('0.weight').chunk(2, dim=1)
        second.copy_(-first)
        parameter('0.bias').zero_()
        parameter('1.weight').fill_(-1)
        parameter('2.weight').abs_()[1].neg_()

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Do all the work that is done per image, not per pair.

        Args:
            inputs: (N, 2 D), ``[x, A x]`` of :func:`aggregate_neighbors`.

        Returns:
            (N, H) and (N, H): what an image adds to the classifier's hidden layer as the first and as the
            second of a pair.
        """
        hidden = self.conv1(inputs)
        first, second = self.classifier.get_parameter('0.weight').chunk(2, dim=1)
        return F.linear(hidden, first, self.classifier.get_parameter('0.bias')), F.linear(hidden, second)

    def score_pairs(self, first: Tensor, second: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Classify the pairs ``(rows[e], cols[e])`` of encoded images.

        Args:
            first: (N, H), see :meth:`encode`.
            second: (N, H), see :meth:`encode`.
            rows: (E,) int64, the first image of every pair.
            cols: (E,) int64, the second image of every pair.

        Returns:
            (E, 2) logits; column 1 stands for "same person".
        """
        hidden = first.index_select(0, rows) + second.index_select(0, cols)
        logits: Tensor = self.classifier[1:](hidden)
        return logits

    def forward(self, inputs: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
        """Classify pairs of images: :meth:`encode`, then :meth:`score_pairs`.

        Args:
            inputs: (N, 2 D), ``[x, A x]`` of :func:`aggregate_neighbors`.
            rows: (E,) int64, the first image of every pair.
            cols: (E,) int64, the second image of every pair.

        Returns:
            (E, 2) logits; column 1 stands for "same person".
        """
        return self.score_pairs(*self.encode(inputs), rows, cols)


def focal_loss(logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float = 1.0) -> Tensor:
    """Mean focal loss, ``-alpha (1 - p)^gamma log p`` with p the probability of the target.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 5.

    Args:
        logits: (E, C).
        targets: (E,) int64 in 0..C-1.
        gamma: how strongly pairs that are already right are played down; 0 is the cross entropy.
        alpha: weight of every class.

    Returns:
        () the mean over the E pairs.
    """
    cross_entropy = F.cross_entropy(logits, targets, reduction='none')
    return alpha * ((-torch.expm1(-cross_entropy)) ** gamma * cross_entropy).mean()
