"""Camera-aware memory: one vector per pseudo label and camera.

Source: Wang et al., Camera-aware Proxies for Unsupervised Person Re-Identification, AAAI 2021 (CAP).
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from glc.core.labels import PseudoLabels, as_labels, cluster_centroids
from glc.core.memories.base import UPDATE, gather_batches, moved_rows, similarity_loss
from glc.core.memories.cluster import ClusterMemory
from glc.core.parameters import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, checked


class CameraMemory(ClusterMemory):
    r"""Memory of proxies: the images of one cluster in one camera share one vector.

    ``reset`` sets every proxy to the unit-norm mean of its images. The loss is the sum of three terms:

    - ``intra_weight`` times :func:`intra_camera_loss`: it separates people within a camera, so that light and
      background cannot help.
    - ``inter_weight`` times :func:`inter_camera_loss`: it pulls the views of a person together.
    - ``cluster_weight`` times the loss of :class:`~glc.core.memories.ClusterMemory`.

    ``update`` moves the proxy of every instance by the rule of :func:`~glc.core.memories.base.momentum_rows`. If
    ``cluster_weight`` is not 0, it moves the cluster vectors by the same rule.

    The defaults are the paper's. The paper differs in two points:

    - It takes a mean over the images of each camera and sums these means. Here the loss is one mean over all images, so
      the loss of a batch is the mean of those of its parts.
    - It has no inter-camera loss in the first five epochs.

    Args:
        temperature: Divisor of the similarities, in all losses.
        momentum: Share of the old vector that stays in an update, in [0, 1].
        mode: ``'mean'`` or ``'hard'``, see :func:`~glc.core.memories.base.momentum_rows`.
        num_negatives: Number of hardest proxies of other clusters in the inter-camera loss.
        intra_weight: Weight of the intra-camera loss.
        inter_weight: Weight of the inter-camera loss.
        cluster_weight: Weight of the loss over the clusters.

    Example:
        >>> features = torch.eye(4)[[0, 0, 2, 1, 3]]
        >>> labels, cam_ids = torch.tensor([0, 0, 0, 1, -1]), torch.tensor([0, 0, 1, 0, 1])
        >>> memory = CameraMemory()
        >>> memory.reset(PseudoLabels.from_features(features, labels, cam_ids))
        >>> memory.proxy_clusters.tolist(), memory.proxy_cameras.tolist()
        ([0, 0, 1], [0, 1, 0])
        >>> loss = memory(torch.eye(4)[:2], labels[[0, 3]], indices=torch.tensor([0, 3]))
    """

    needs: ClassVar[tuple[str, ...]] = ('labels', 'features', 'cam_ids')

    proxies: Tensor
    """(Q, D) unit-norm vectors, ordered by cluster, then by camera."""
    proxy_clusters: Tensor
    """(Q,) cluster of each proxy."""
    proxy_cameras: Tensor
    """(Q,) camera of each proxy."""
    image_proxies: Tensor
    """(N,) proxy of each image, -1 = outlier."""
    siblings: Tensor
    """(Q, M) the proxies of the cluster of each proxy, filled up with the proxy itself; M is those of the largest."""

    @checked(
        temperature=POSITIVE,
        **UPDATE,
        num_negatives=AT_LEAST_ONE,
        intra_weight=NOT_NEGATIVE,
        inter_weight=NOT_NEGATIVE,
        cluster_weight=NOT_NEGATIVE,
    )
    def __init__(
        self,
        temperature: float = 0.07,
        momentum: float = 0.2,
        mode: str = 'mean',
        num_negatives: int = 50,
        intra_weight: float = 1.0,
        inter_weight: float = 0.5,
        cluster_weight: float = 0.0,
    ) -> None:
        super().__init__(temperature, momentum, mode)
        if not any((intra_weight, inter_weight, cluster_weight)):
            raise ValueError(
                'the weights of CameraMemory must not all be 0: give intra_weight, inter_weight or cluster_weight'
            )
        self.num_negatives = num_negatives
        self.intra_weight = intra_weight
        self.inter_weight = inter_weight
        self.cluster_weight = cluster_weight
        self.register_buffer('proxies', torch.empty(0, 0), persistent=False)
        for name in ('proxy_clusters', 'proxy_cameras', 'image_proxies', 'siblings'):
            self.register_buffer(name, torch.empty(0, dtype=torch.int64), persistent=False)

    def extra_repr(self) -> str:
        """Show the settings when the module is printed."""
        return (
            f'{super().extra_repr()}, num_negatives={self.num_negatives}, intra_weight={self.intra_weight}, '
            f'inter_weight={self.inter_weight}, cluster_weight={self.cluster_weight}'
        )

    def reset(self, pseudo: PseudoLabels) -> None:
        """Start again from a labeling; see :meth:`BaseMemory.reset`.

        Raises:
            ValueError: A field is None, shapes do not match, or the camera of a clustered image is unknown (-1).
        """
        super().reset(pseudo)
        assert pseudo.features is not None
        assert pseudo.cam_ids is not None
        device = self.bank.device
        labels = as_labels(pseudo.labels, len(pseudo.features)).to(device)
        cam_ids = as_labels(pseudo.cam_ids, len(labels), 'cam_ids').to(device)
        clustered = labels >= 0
        unknown = int((cam_ids[clustered] < 0).sum())
        if unknown:
            raise ValueError(
                f'the camera of {unknown} of {int(clustered.sum())} clustered images is unknown (-1): CameraMemory '
                "needs all. Give cam_ids >= 0 (ImageFolderReID: a pattern with a group 'cam'), or use ClusterMemory"
            )
        pairs = torch.stack([labels, cam_ids], 1)[clustered]
        groups, proxies = pairs.unique(dim=0, return_inverse=True)
        self.proxy_clusters, self.proxy_cameras = groups.unbind(1)
        sizes = self.proxy_clusters.bincount()
        nth = torch.arange(int(sizes.max()), device=device)
        firsts = (sizes.cumsum(0) - sizes)[self.proxy_clusters, None]
        filler = torch.arange(len(groups), device=device)[:, None]
        self.siblings = torch.where(nth < sizes[self.proxy_clusters, None], firsts + nth, filler)
        self.image_proxies = torch.full_like(labels, -1).masked_scatter(clustered, proxies)
        self.proxies = cluster_centroids(pseudo.features.to(device), self.image_proxies)

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Compute the weighted sum of the losses; see :meth:`BaseMemory.forward`."""
        own = self._own(features, indices)

        def loss_of(similarities: Tensor) -> Tensor:
            intra = intra_camera_loss(similarities, own, self.proxy_cameras)
            inter = inter_camera_loss(
                similarities, own, self.proxy_clusters, self.siblings, self.num_negatives
            )
            return self.intra_weight * intra + self.inter_weight * inter

        loss = similarity_loss(features, self.proxies, self.temperature, loss_of)
        if self.cluster_weight:
            loss = loss + self.cluster_weight * super().forward(features, labels)
        return loss

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Apply the momentum update of the global batch; see :meth:`BaseMemory.update`."""
        if self.cluster_weight:
            super().update(features, labels)
        features, own = gather_batches(features.float(), self._own(features, indices))
        self.proxies[own] = moved_rows(self.proxies, features, own, self.momentum, self.mode)

    def _own(self, features: Tensor, indices: Tensor | None) -> Tensor:
        """Return the proxy (B,) of every image; an outlier has none, which is an error."""
        own = self.image_proxies[self._rows(features, indices, 'indices', len(self.image_proxies))]
        if own.device.type == 'cpu' and (own < 0).any():
            raise ValueError(
                f'indices of CameraMemory: {int((own < 0).sum())} of {len(own)} are those of outliers, which have no '
                f'proxy, the first at {int((own < 0).nonzero()[0])}'
            )
        return own.where(own >= 0, len(self.proxies))  # elsewhere the device stops for it


def intra_camera_loss(similarities: Tensor, own: Tensor, cameras: Tensor) -> Tensor:
    r"""Compute the cross entropy over the proxies of the image's own camera.

    For an image of proxy ``p`` in camera ``c``, with similarities ``s``, it is
    ``-log(exp(s_p) / sum_{q in camera c} exp(s_q))``.

    Args:
        similarities: (B, Q) similarities to all proxies, divided by the temperature.
        own: (B,) int64 proxy of each image.
        cameras: (Q,) camera of each proxy.

    Returns:
        Mean over the batch.
    """
    elsewhere = cameras != cameras[own][:, None]
    return F.cross_entropy(similarities.masked_fill(elsewhere, -torch.inf), own)


def inter_camera_loss(
    similarities: Tensor, own: Tensor, clusters: Tensor, siblings: Tensor, num_negatives: int
) -> Tensor:
    r"""Contrast the cluster's proxies in other cameras with the hardest proxies of other clusters.

    - The positives ``P`` are the proxies of the image's cluster in other cameras.
    - The negatives ``N`` are the ``num_negatives`` most similar proxies of other clusters, in any camera.
    - The loss is ``-1/|P| sum_{p in P} log(exp(s_p) / sum_{q in P or N} exp(s_q))``, and 0 where ``P`` is empty.

    Args:
        similarities: (B, Q) similarities to all proxies, divided by the temperature.
        own: (B,) int64 proxy of each image.
        clusters: (Q,) cluster of each proxy.
        siblings: (Q, M) the proxies of the cluster of each proxy, filled up with the proxy itself.
        num_negatives: Largest number of negatives per image.

    Returns:
        Mean over the batch, images without positives included.
    """
    same = siblings[own]
    positive = same != own[:, None]
    # Of so many, M at most are of the own cluster, so the hardest negatives are among them.
    nearest = similarities.detach().topk(min(num_negatives + same.shape[1], similarities.shape[1])).indices
    negative = clusters[nearest] != clusters[own][:, None]
    negative &= negative.cumsum(1) <= num_negatives  # in falling order
    s = similarities.gather(1, torch.cat([same, nearest], 1))
    usable = positive.any(1)
    # Images without positives keep all, for a finite sum: the gradient of an empty one is undefined.
    total = s.masked_fill(usable[:, None] & ~torch.cat([positive, negative], 1), -torch.inf).logsumexp(1)
    mean = (s[:, : same.shape[1]] * positive).sum(1) / positive.sum(1).clamp(min=1)
    return torch.where(usable, total - mean, 0).mean()
