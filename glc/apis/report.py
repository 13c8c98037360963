"""One page that shows what a run did."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property

import numpy as np
from PIL.Image import Image
from tqdm import tqdm

from glc.apis.pictures import (
    build_test_set,
    extract_quietly,
    features_of_run,
    rank_test,
    same_camera_rule,
)
from glc.apis.plan import plan_schedule
from glc.apis.run_folder import RunFolder, StoredLabels
from glc.core.evaluation import label_quality
from glc.visualization import (
    Change,
    Row,
    Tile,
    compare_labels,
    draw_curves,
    draw_feature_map,
    draw_image_rows,
    draw_label_changes,
    draw_ranked_results,
    draw_schedule,
    embed_features,
)
from glc.visualization.image_rows import GREEN, RED
from glc.visualization.label_changes import KINDS, largest_of_each_kind
from glc.visualization.report_page import Block, Code, Note, Picture, Section, Table, Text, report_page

__all__ = ['RunReport']


class RunReport:
    """Maker of the report of a run: what is there is shown, and what is not is named with the reason.

    Args:
        run: The run.
        network: Whether the last checkpoint extracts features, for the map and the ranked lists.
        clusters: Clusters, queries and changes in a picture.
        map_images: Training images in the map.
        seed: Of what is chosen at random.

    Attributes:
        left_out: What is not shown, and why, by the title of its section; after :meth:`page`.
    """

    def __init__(
        self,
        run: RunFolder,
        network: bool = True,
        clusters: int = 6,
        map_images: int = 3000,
        seed: int = 0,
    ) -> None:
        self.run = run
        self.network = network
        self.clusters = clusters
        self.map_images = map_images
        self.seed = seed
        self.left_out: dict[str, str] = {}

    def page(self) -> str:
        """Return the page as HTML."""
        parts: dict[str, Callable[[], Iterator[Block]]] = {
            'Summary': self._summary,
            'Curves': self._curves,
            'Schedule': self._schedule,
            'Time per stage': self._times,
            'What the correction did': self._correction,
            'Clusters': self._clusters,
            'Map of the training images': self._map,
            'Ranked lists': self._ranked,
            'Config and versions': self._config,
        }
        sections = []
        for title, make in tqdm(parts.items(), 'report', disable=None, leave=False):
            blocks: list[Block] = []
            try:
                for block in make():  # what comes before an error is shown
                    blocks.append(block)
            except Exception as error:  # a part that cannot be shown takes no other one with it
                self.left_out[title] = str(error) or type(error).__name__
                blocks.append(Note(f'Not shown: {self.left_out[title]}'))
            sections.append(Section(title, blocks))
        about = f'Written {time.strftime("%Y-%m-%d %H:%M")}.'
        return report_page(f'Report of {self.run.work_dir.resolve().name}', about, sections)

    @cached_property
    def _last(self) -> StoredLabels | None:
        return self.run.labels(self.run.epochs[-1]) if self.run.epochs else None

    @cached_property
    def _known(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Identities and cameras (N,) of the labeled images, where the data set is found."""
        try:
            dataset = self.run.dataset
        except Exception:  # moved data: the labels are there all the same
            return None, None
        fits = self._last is not None and len(dataset) == len(self._last.labels)
        return (dataset.pids, dataset.cam_ids) if fits else (None, None)

    def _summary(self) -> Iterator[Block]:
        scalars = self.run.scalars
        losses, scores = scalars.get('loss', {}), scalars.get('reid/mAP', {})
        done = max(losses, default=0)
        if losses:
            yield Text(f'The log reaches epoch {done}, whose mean loss is {losses[done]:.3f}.')
        if scores:
            last, best = max(scores), max(scores, key=lambda epoch: scores[epoch])
            rank1 = scalars.get('reid/rank1', {}).get(last)
            yield Text(
                f'mAP of the last evaluation, after epoch {last}: {scores[last]:.1f} %'
                + (f', Rank-1 {rank1:.1f} %' if rank1 is not None else '')
                + f'. Best mAP: {scores[best]:.1f} %, after epoch {best}.'
            )
        else:
            yield Text('The log has no test score.')
        if self._last is not None:
            final = self._last.final
            yield Text(
                f'Epoch {self._last.epoch} trained on {final.max() + 1:,} clusters; '
                f'{np.sum(final < 0):,} of {len(final):,} images were outliers.'
            )
        before, after = (
            scalars.get(f'pseudo_labels/{stage}/pairwise_f', {}) for stage in ('labels', 'corrected')
        )
        gains = [after[epoch] - before[epoch] for epoch in after if epoch in before]
        if gains:
            spread = f', from {100 * min(gains):+.1f} to {100 * max(gains):+.1f}' if len(gains) > 1 else ''
            yield Text(
                f'The correction changed the pairwise F of the labels by {100 * np.mean(gains):+.1f} percentage points'
                f'{" in the mean" if spread else ""} (epochs corrected: {len(gains)}{spread}).'
            )
        stored = self.run.last_corrected
        if stored is not None and stored.corrected is not None:
            kinds = Counter(change.kind for change in compare_labels(stored.labels, stored.corrected))
            changed = ', '.join(f'{kinds[kind]} {kind}' for kind in KINDS if kinds[kind])
            yield Text(
                f'Of the {stored.labels.max() + 1:,} clusters of epoch {stored.epoch} the correction made '
                f'{stored.corrected.max() + 1:,}. Groups of clusters by what happened: {changed}.'
            )
        elif self._last is not None:
            yield Text('No labels were corrected.')
        planned = (self.run.config.get('train_cfg') or {}).get('max_epochs')
        if planned and done < planned:
            yield Text(f'The config asks for {planned} epochs: the run ended before, or is going on.')

    def _curves(self) -> Iterator[Block]:
        yield Picture.of(
            draw_curves(self.run.scalars), 'Values by epoch, means where an epoch logged several.'
        )

    def _schedule(self) -> Iterator[Block]:
        schedule = plan_schedule(self.run.config)
        yield Picture.of(draw_schedule(schedule), 'The schedule of the config. Epochs are counted from 1.')

    def _times(self) -> Iterator[Block]:
        stages = {
            name.removeprefix('pseudo_labels/').removeprefix('seconds/'): list(values.values())
            for name, values in self.run.scalars.items()
            if name.startswith(('pseudo_labels/seconds/', 'seconds/'))
        }
        if not stages:
            raise ValueError('the log has no seconds')
        rows = [
            [name, len(values), float(np.mean(values)), float(max(values))] for name, values in stages.items()
        ]
        yield Table(['stage', 'epochs', 'mean seconds', 'longest'], rows)
        yield Text('Parts of a stage are written behind a slash: label/knn is a part of label.')

    def _correction(self) -> Iterator[Block]:
        rows = []
        scalars = self.run.scalars
        for epoch in self.run.epochs:
            stored = self.run.labels(epoch)
            if stored.corrected is None:
                continue
            kinds = Counter(change.kind for change in compare_labels(stored.labels, stored.corrected))
            quality = [
                scalars.get(f'pseudo_labels/{stage}/pairwise_f', {}).get(epoch)
                for stage in ('labels', 'corrected')
            ]
            sizes = [int(labels.max()) + 1 for labels in (stored.labels, stored.corrected)]
            rows.append([epoch, *sizes, *(kinds[kind] for kind in KINDS), *quality])
        if not rows:
            raise ValueError('the run has no labels that were corrected')
        columns = ['epoch', 'clusters before', 'after', *KINDS, 'pairwise F before', 'F after']
        yield Table(columns, rows)
        yield Text('; '.join(f'{kind}: {meaning}' for kind, meaning in KINDS.items()) + '.')
        stored = self.run.last_corrected
        assert stored is not None
        assert stored.corrected is not None
        changes = compare_labels(stored.labels, stored.corrected)
        shown = largest_of_each_kind([change for change in changes if change.kind != 'kept'], self.clusters)
        if shown:
            picture = draw_label_changes(self._files(), stored.labels, stored.corrected, shown)
            yield Picture.of(picture, f'Changes of epoch {stored.epoch}, the largest of each kind.')
        else:
            yield Text(f'In epoch {stored.epoch} the correction kept all clusters.')

    def _clusters(self) -> Iterator[Block]:
        stored = self._last
        if stored is None:
            raise ValueError('the run has kept no labels')
        pids, cams = self._known
        kinds: dict[int, Change] = {}
        if stored.corrected is not None:
            for change in compare_labels(stored.labels, stored.corrected):
                kinds |= dict.fromkeys(change.after, change)
        order = np.argsort(stored.final, kind='stable')
        names, starts = np.unique(stored.final[order], return_index=True)
        parts = zip(names.tolist(), np.split(order, starts[1:]), strict=True)
        members = {name: rows for name, rows in parts if name >= 0}
        certainty = {
            name: float(np.mean(stored.certainty[rows], dtype=float)) for name, rows in members.items()
        }
        known = pids is not None and bool((pids >= 0).any())
        main = (
            {name: _majority(pids[rows]) for name, rows in members.items()}
            if known and pids is not None
            else {}
        )
        columns = ['cluster', 'images', 'cameras', 'certainty', 'least certain image', 'correction']
        rows = [
            [
                name,
                len(part),
                None if cams is None else len(set(cams[part].tolist()) - {-1}),
                certainty[name],
                float(stored.certainty[part].min()),
                kinds[name].kind if name in kinds else None,
                *([float(np.mean(pids[part] == main[name]))] if known and pids is not None else []),
            ]
            for name, part in members.items()
        ]
        yield Text(
            f'Clusters of epoch {stored.epoch}. Certainty is the cosine similarity of an image and the center of its '
            'cluster, a mean over the cluster.'
        )
        if known and pids is not None:
            scores = label_quality(stored.final, pids)
            yield Text(
                'Against the identities, which training does not see: '
                f'pairwise precision {scores["pairwise_precision"]:.3f}, recall {scores["pairwise_recall"]:.3f}.'
            )
        yield Table([*columns, *(['largest identity'] if known else [])], rows)

        def sheet(names: list[int]) -> Image:
            files, lines = self._files(), []
            for name in names:
                part = members[name][np.argsort(stored.certainty[members[name]], kind='stable')]
                shown = part[np.linspace(0, len(part) - 1, min(12, len(part))).round().astype(int)]
                frames = [
                    None if name not in main or pids is None else GREEN if pids[row] == main[name] else RED
                    for row in shown.tolist()
                ]
                tiles = [Tile(files[row], color) for row, color in zip(shown.tolist(), frames, strict=True)]
                title = f'cluster {name}: {len(part)} images, certainty {certainty[name]:.2f}'
                lines.append(Row(title, tiles))
            return draw_image_rows(lines, columns=12)

        by_size = sorted(members, key=lambda name: -len(members[name]))[: self.clusters]
        unsure = sorted(members, key=lambda name: certainty[name])[: self.clusters]
        frames = (
            ' Frames: green around the most frequent identity of the cluster, red around others.'
            if known
            else ''
        )
        yield Picture.of(sheet(by_size), f'The largest clusters; least certain images on the left.{frames}')
        yield Picture.of(
            sheet(unsure), f'The least certain clusters; least certain images on the left.{frames}'
        )

    def _map(self) -> Iterator[Block]:
        self._needs_network()
        features, groups = features_of_run(self.run, self.map_images, self.seed)
        positions = embed_features(features, seed=self.seed)
        yield Picture.of(
            draw_feature_map(positions, groups),
            f'{len(features):,} training images, by the features of the last checkpoint. Near each other: similar. '
            'Colors are used several times.',
            points=True,
        )

    def _ranked(self) -> Iterator[Block]:
        self._needs_network()
        cfg = self.run.config
        dataset, rule = build_test_set(cfg), same_camera_rule(cfg)
        (features,) = extract_quietly(cfg, str(self.run.checkpoint), dataset)
        found = rank_test(features, dataset, rule, top=10, rerank=False)
        files = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
        scored = not bool(np.isnan(found.ap).all())
        for order in ('worst', 'best') if scored else ('random',):
            chosen = found.ordered(order, self.clusters, self.seed)
            picture = draw_ranked_results(
                [files[row] for row in found.queries[chosen]],
                files,
                found.ranking[chosen],
                found.matches[chosen],
            )
            score = f', average precision {_percent(found.ap[chosen])}' if scored else ''
            yield Picture.of(
                picture,
                f'{order.capitalize()} queries{score}. Green: the same person; red: another; gray: unknown.',
            )

    def _config(self) -> Iterator[Block]:
        yield Text(self.run.versions or 'No log names the versions of the software.')
        yield Code('config', self.run.config.pretty_text)

    def _files(self) -> list[str]:
        """Return the image files; an error where the first one is not found."""
        files = self.run.files
        if not files or self._last is None or len(files) != len(self._last.labels):
            raise FileNotFoundError(
                'clusters.csv with the files of the images is missing, or of other images'
            )
        with open(files[0], 'rb'):
            return files

    def _needs_network(self) -> None:
        if not self.network:
            raise RuntimeError('the report was asked for without the network')
        if self.run.checkpoint is None:
            raise FileNotFoundError('the run has no checkpoint, which makes the features')


def _majority(pids: np.ndarray) -> int:
    """Return the most frequent known identity; -2 where none is known."""
    known = pids[pids >= 0]
    return int(np.bincount(known).argmax()) if len(known) else -2


def _percent(values: np.ndarray) -> str:
    return ', '.join(f'{100 * value:.0f}' for value in values) + ' %'
