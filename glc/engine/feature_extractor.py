"""Features of a whole data set, in the order of its samples."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from glc.datasets import BaseReIDDataset, pipeline_of
from glc.datasets.collate import stack_images
from glc.engine.unwrap import unwrap
from glc.models.reid import features_for_test


class FeatureExtractor:
    """Extractor of the unit features of all images of a data set.

    Every process takes whole batches, and the batches are the same for any number of processes. So the features are the
    same, too. They are written by ``sample_idx``, never by order of arrival.

    Args:
        dataset: Data set with a deterministic (test) pipeline.
        batch_size: Images per batch.
        num_workers: Worker processes that load images, per training process.
        progress: Whether a terminal shows a bar.
        amp: Whether the network computes in half precision: bfloat16 on a CPU, float16 on a GPU.
        flip: Whether features are the normalized sum of those of an image and of its mirror image; None takes
            ``flip_test`` of the model.
    """

    def __init__(
        self,
        dataset: BaseReIDDataset,
        batch_size: int = 256,
        num_workers: int = 2,
        progress: bool = True,
        amp: bool = False,
        flip: bool | None = None,
    ) -> None:
        self.dataset = dataset
        self.progress = progress
        self.amp = amp
        self.flip = flip
        rank, world_size = get_dist_info()
        batches = torch.arange(len(dataset)).split(batch_size)
        self._loader: DataLoader = DataLoader(
            dataset,
            batch_sampler=[batch.tolist() for batch in batches[rank::world_size]],
            num_workers=num_workers,
            collate_fn=stack_images,
            persistent_workers=num_workers > 0,  # an extraction in every epoch
            pin_memory=torch.cuda.is_available(),
        )

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Tensor:
        """Extract unit features (N, D) float32 on the device of the model, complete on every process.

        Args:
            model: Algorithm with ``data_preprocessor`` and ``extract_feat``, wrapped for distributed training or not;
                it is put into evaluation mode and back.
        """
        network = unwrap(model)
        was_training = network.training
        network.eval()
        device = network.data_preprocessor.device
        half = torch.bfloat16 if device.type == 'cpu' else torch.float16
        precision = torch.autocast(device.type, half) if self.amp else nullcontext()
        indices, features = [], []
        quiet = True if get_dist_info()[0] or not self.progress else None  # None: a bar on a terminal only
        try:
            for batch in tqdm(self._loader, desc='extract features', disable=quiet, leave=False):
                batch = network.data_preprocessor(batch, False)
                samples = batch['data_samples']
                with precision:
                    found = features_for_test(network, batch['inputs'], samples, self.flip)
                features.append(found.float())
                indices += [sample.sample_idx for sample in samples]
        finally:
            network.train(was_training)
        dim = torch.tensor(features[0].shape[1] if features else 0)
        all_reduce(dim, op='max')  # a process without a batch does not know D
        table = torch.zeros(len(self.dataset), int(dim), device=device)
        if features:
            table[torch.tensor(indices)] = torch.cat(features)
        all_reduce(table, op='sum')
        return table


def deterministic_pipeline(cfg: Config) -> Sequence:
    """Return the pipeline for the features of a config's images.

    It is that of ``test_dataloader``, else of ``val_dataloader``, else of a hook, else ``test_pipeline``.

    Raises:
        ValueError: If the config has none of them.
    """
    loaders = (cfg.get(f'{stage}_dataloader') for stage in ('test', 'val'))
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    pipelines = [pipeline_of(loader.dataset) for loader in loaders if loader]
    pipelines += [hook.get('pipeline') for hook in hooks if isinstance(hook, dict)]
    for pipeline in (*pipelines, cfg.get('test_pipeline')):
        if pipeline:
            return pipeline
    raise ValueError(
        'the config has no pipeline for features: set test_pipeline (a list of transforms without augmentation), '
        'test_dataloader.dataset.pipeline, or default_hooks.pseudo_label.pipeline'
    )
