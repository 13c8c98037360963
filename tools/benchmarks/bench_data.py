"""Images per second and core from files to the input of a network, and the time of an extraction of features.

    OMP_NUM_THREADS=1 python tools/benchmarks/bench_data.py --extract            # drawn images, nothing to download
    OMP_NUM_THREADS=1 python tools/benchmarks/bench_data.py --data data/market1501
    python tools/benchmarks/bench_data.py --extract --device cuda --images 12936 --workers 8 --repeats 2

The first table is the processor time of one process: decode, resize to 256 x 128 (bicubic), flip, padded crop, random
erasing, normalized batch on the CPU. The baselines are the transforms of torchvision, one image after the other, as
public programs of re-identification use them, and what this project did before: the same images through NumPy's
transposes and mirror images, and a normalization of the whole batch in five copies. The limits are the decoding alone,
decoding with pillow's resizing, and the copy of a decoded image with its normalization. The second table is what a
batch from a worker costs the main process. The third is the time of the features of all images in loader and network:
torchvision's transforms, the first extraction of a training, a later one in float32 and in half precision, the network
alone. It is processor time without workers, else time on the clock.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as tv

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.datasets import Draw, Market1501, SyntheticSpec, make_synthetic
from glc.datasets.collate import stack_images
from glc.engine import FeatureExtractor
from glc.models import ReIDDataPreprocessor
from glc.registry import MODELS
from glc.structures import ReIDDataSample
from glc.utils.malloc import keep_freed_memory

MEAN, STD, FILL = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)
MEAN_255, STD_255 = [255 * value for value in MEAN], [255 * value for value in STD]
ERASING = {'prob': 0.5, 'area': (0.02, 0.4), 'aspect': (0.3, 3.33)}


def pipelines(backend: str) -> tuple[list[dict], list[dict]]:
    """Return the pipelines of training and test of the published recipes."""
    load = [
        {'type': 'LoadReIDImage'},
        {'type': 'Resize', 'scale': (128, 256), 'backend': backend, 'interpolation': 'bicubic'},
    ]
    augment = [
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PadRandomCrop', 'padding': 10, 'size': (128, 256)},
        {'type': 'RandomErasing', **ERASING},
    ]
    pack = {'type': 'PackReIDInputs'}
    return [*load, *augment, pack], [*load, pack]


class TorchvisionImages(Dataset):
    """Images through torchvision's transforms."""

    def __init__(self, paths: Sequence[str], training: bool) -> None:
        augment = [tv.RandomHorizontalFlip(), tv.Pad(10), tv.RandomCrop((256, 128))] if training else []
        erase = [tv.RandomErasing(0.5, ERASING['area'], ERASING['aspect'], FILL)] if training else []
        self.paths = paths
        self.transform = tv.Compose(
            [
                tv.Resize((256, 128), interpolation=tv.InterpolationMode.BICUBIC),
                *augment,
                tv.ToTensor(),
                tv.Normalize(MEAN, STD),
                *erase,
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.paths[index]).convert('RGB'))


class Before:
    """Crop, packing and normalization as they were before."""

    def crop(self, results: dict) -> dict:
        """Cut a random window from the padded image."""
        padded = cv2.copyMakeBorder(results['img'], 10, 10, 10, 10, cv2.BORDER_CONSTANT, value=0)
        y, x = random.randint(0, 20), random.randint(0, 20)
        results['img'] = padded[y : y + 256, x : x + 128]
        return results

    def pack(self, results: dict) -> dict:
        """Return the packed image."""
        image = np.ascontiguousarray(results['img'].transpose(2, 0, 1))
        keys = [key for key in ('sample_idx', 'pid', 'cam_id', 'erase_box', 'img_path') if key in results]
        sample = ReIDDataSample(metainfo={key: results[key] for key in keys})
        return {'inputs': torch.from_numpy(image), 'data_samples': sample}

    def normalized(self, batch: dict) -> Tensor:
        """Return the batch of the network."""
        mean, std, fill = (torch.tensor(value).view(3, 1, 1) for value in (MEAN_255, STD_255, FILL))
        inputs = ((torch.stack(batch['inputs']).float().flip(1) - mean) / std).contiguous()
        for image, sample in zip(inputs, batch['data_samples'], strict=True):
            box = sample.get('erase_box')
            if box is not None:
                top, left, height, width = box
                image[:, top : top + height, left : left + width].copy_(fill)
        return inputs


Program = Callable[[range], object]


def loading(root: str, count: int) -> dict[str, Program]:
    """Return programs that load the images of these rows as one batch, by name; three limits come first."""
    plain = Market1501(root, pipeline=pipelines('pillow')[0], check='off', indices=count)
    paths = [plain.get_data_info(index)['img_path'] for index in range(len(plain))]
    contents = [np.fromfile(path, np.uint8) for path in paths]
    decoded = np.stack(
        [cv2.resize(cv2.imdecode(content, cv2.IMREAD_COLOR), (128, 256)) for content in contents]
    )
    preprocess = ReIDDataPreprocessor(MEAN_255, STD_255)
    before = Before()
    old = plain.with_pipeline(pipelines('pillow')[0])
    flip, erase = old.pipeline.transforms[2], old.pipeline.transforms[4]
    old.pipeline = Compose([*old.pipeline.transforms[:2], flip, before.crop, erase, before.pack])
    torchvision = TorchvisionImages(paths, training=True)
    cached, by_torch, by_cv2, test = (
        Market1501(root, pipeline=pipeline, check='off', indices=count)
        for pipeline in (*(pipelines(name)[0] for name in ('pillow', 'torch', 'cv2')), pipelines('pillow')[1])
    )
    cached.cache_images()
    test.cache_images()

    def draws(dataset: Market1501, rows: range) -> list[dict]:
        return [dataset[Draw(index, index)] for index in rows]

    def new(dataset: Market1501) -> Program:
        return lambda rows: preprocess(stack_images(draws(dataset, rows)))

    def resized(rows: range) -> object:
        images = (Image.fromarray(cv2.imdecode(contents[row], cv2.IMREAD_COLOR)) for row in rows)
        return [image.resize((128, 256), Image.Resampling.BICUBIC) for image in images]

    def limit(rows: range) -> object:
        images = decoded[rows.start : rows.stop].transpose(0, 3, 1, 2).copy()
        return preprocess({'inputs': torch.from_numpy(images)})

    return {
        'limit: decoding alone': lambda rows: [cv2.imdecode(contents[row], cv2.IMREAD_COLOR) for row in rows],
        'limit: decoding and resizing, bicubic of pillow': resized,
        'limit: copy and normalization of decoded images': limit,
        'torchvision, one by one': lambda rows: torch.stack([torchvision[index] for index in rows]),
        'before: bicubic of pillow': lambda rows: before.normalized(pseudo_collate(draws(old, rows))),
        'published images: bicubic of pillow': new(plain),
        '`resize_backend=torch`': new(by_torch),
        '`resize_backend=cv2`': new(by_cv2),
        'published images, cached (`image_cache`)': new(cached),
        'the same without augmentation': new(test),
    }


def measure_loading(root: str, count: int, batch_size: int, repeats: int) -> None:
    """Print the table of images per second: of every batch, the fastest of some repetitions counts."""
    programs = loading(root, count)
    batches = [range(first, min(first + batch_size, count)) for first in range(0, count, batch_size)]
    times = {name: np.full(len(batches), np.inf) for name in programs}
    for _ in range(repeats + 1):  # the first time fills the cache
        for place, rows in enumerate(batches):
            for name, program in programs.items():
                start = time.process_time()
                program(rows)
                times[name][place] = min(times[name][place], time.process_time() - start)
    seconds = {name: values.sum() for name, values in times.items()}
    torchvision, before = list(programs)[3:5]
    print('| one core | images/s | times torchvision | times before |')
    print('|---|---|---|---|')
    for name, own in seconds.items():
        ratios = ' | '.join(f'{seconds[other] / own:.2f}' for other in (torchvision, before))
        print(f'| {name} | {count / own:,.0f} | {ratios} |')


def measure_passing(root: str, count: int, batch_size: int, batches: int = 8) -> None:
    """Print the processor time that the main process needs for a batch from a worker."""
    dataset = Market1501(root, pipeline=pipelines('pillow')[0], check='off', indices=count)
    dataset.cache_images()
    draws = [Draw(index % count, index) for index in range((batches + 1) * batch_size)]
    print(f'\n| batch of {batch_size} images from a worker | ms of the main process |')
    print('|---|---|')
    for name, collate in (('before: a tensor per image', pseudo_collate), ('one tensor', stack_images)):
        loader = iter(DataLoader(dataset, batch_size, sampler=draws, num_workers=1, collate_fn=collate))
        next(loader)
        start = time.process_time()
        for _ in loader:
            pass
        print(f'| {name} | {1000 * (time.process_time() - start) / batches:.1f} |')


def measure_extraction(
    root: str, count: int, batch_size: int, workers: int, network: nn.Module, device: torch.device
) -> None:
    """Print the table of seconds of an extraction."""
    network = network.to(device).eval()
    test = pipelines('pillow')[1]
    dataset = Market1501(root, pipeline=test, check='off', indices=count)
    paths = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    dataset.cache_images()
    extractor = FeatureExtractor(dataset, batch_size, workers, progress=False)
    batch = torch.zeros(batch_size, 3, 256, 128, dtype=torch.uint8)
    clock = time.perf_counter if workers else time.process_time

    def timed(program: Callable[[], object]) -> float:
        start = clock()
        program()
        if device.type == 'cuda':
            torch.cuda.synchronize()
        return clock() - start

    @torch.no_grad()
    def features(batches: Iterator[Tensor]) -> None:
        for images in batches:
            network.extract_feat(images.to(device, memory_format=network.data_preprocessor.memory_format))

    def torchvision() -> None:
        images = TorchvisionImages(paths, training=False)
        features(iter(DataLoader(images, batch_size, num_workers=workers, pin_memory=device.type == 'cuda')))

    inputs = network.data_preprocessor({'inputs': batch})['inputs']
    timed(lambda: features(iter([inputs])))
    whole = timed(torchvision)
    found: dict[bool, Tensor] = {}

    def extraction(amp: bool) -> float:
        extractor.amp = amp
        return timed(lambda: found.update({amp: extractor(network)}))

    def alone(amp: bool) -> float:
        batches = iter([inputs] * -(-count // batch_size))
        with torch.autocast(device.type, torch.bfloat16 if device.type == 'cpu' else torch.float16, amp):
            return timed(lambda: features(batches))

    rows = {
        'torchvision, one by one': whole,
        'first extraction of a training': extraction(False),
        'later extraction (`image_cache`)': extraction(False),
        'the same in half precision (`pseudo_label.amp`)': extraction(True),
        'limit: the network alone': alone(False),
        'limit: the network alone, in half precision': alone(True),
    }
    print(f'\n| features of {count:,} images, {workers} workers | seconds | times torchvision |')
    print('|---|---|---|')
    for name, seconds in rows.items():
        print(f'| {name} | {seconds:.1f} | {whole / seconds:.2f} |')
    distance = 1 - torch.cosine_similarity(found[True], found[False])
    print(
        f'\ncosine distance of half precision to float32: {distance.mean():.1e}, at most {distance.max():.1e}'
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print tables."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_data.py --images 512 --extract',
    )
    parser.add_argument('--data', metavar='FOLDER', help='Market-1501; drawn images by default')
    parser.add_argument('--images', type=int, default=512, metavar='N')
    parser.add_argument('--batch-size', type=int, default=256, metavar='N')
    parser.add_argument('--repeats', type=int, default=5, metavar='N', help='the fastest of N counts')
    parser.add_argument('--extract', action='store_true', help='measure an extraction, too')
    parser.add_argument('--network', default='OSNet', choices=['OSNet', 'ViT-S'], help='of the extraction')
    parser.add_argument('--workers', type=int, default=0, metavar='N', help='of the extraction')
    parser.add_argument('--device', default='cpu', help='of the extraction')
    args = parser.parse_args(argv)
    cv2.setNumThreads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        root = args.data
        if root is None:
            root = str(Path(folder, 'drawn'))
            people = -(-args.images // 20)
            make_synthetic(
                root, SyntheticSpec(train_ids=people, test_ids=1, test_images=4, distractors=0, junk=0)
            )
        print(f'{args.images} images of {args.data or "drawn people"}, {torch.get_num_threads()} threads\n')
        measure_loading(root, min(args.images, 512), args.batch_size, args.repeats)
        measure_passing(root, min(args.images, 512), args.batch_size)
        if args.extract:
            backbone = {
                'OSNet': {'type': 'OSNet', 'width': 'x0_25'},
                'ViT-S': {'type': 'PASSViT', 'arch': 'small'},
            }
            neck = {'OSNet': {'in_channels': 512}, 'ViT-S': {'in_channels': 384, 'num_tokens': 4}}
            network = MODELS.build(
                {
                    'type': 'UnsupervisedReID',
                    'data_preprocessor': {
                        'type': 'ReIDDataPreprocessor',
                        'mean': MEAN_255,
                        'std': STD_255,
                        'channels_last': args.network == 'OSNet',
                    },
                    'backbone': backbone[args.network],
                    'neck': {'type': 'ReIDNeck', **neck[args.network]},
                    'head': {'type': 'ContrastHead', 'memory': {'type': 'ClusterMemory'}},
                }
            )
            measure_extraction(
                root, args.images, args.batch_size, args.workers, network, torch.device(args.device)
            )


if __name__ == '__main__':
    main()
