"""Keep the teacher's backbone of a PASS pre-training: ``python tools/model_converters/export_teacher.py CKPT --out F``.

The file is what a config names as the starting weights of its backbone:
``model.backbone.init_cfg.checkpoint=F``.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

PREFIX = 'teacher.'


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write the backbone of the teacher of a PASS pre-training',
        epilog='example: python tools/model_converters/export_teacher.py work_dirs/vit_s_luperson/epoch_100.pth '
        '--out pretrained/my_pass.pth',
    )
    parser.add_argument('checkpoint', help='checkpoint of a training with a config of configs/pass')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.pth file')
    return parser.parse_args()


def main() -> None:
    """Read, select, write."""
    args = parse_args()
    from glc.checkpoints import load_checkpoint_file, write_checkpoint_file  # after --help: it takes seconds

    state = load_checkpoint_file(args.checkpoint).get('state_dict', {})
    start = f'{PREFIX}backbone.'
    teacher = {key.removeprefix(PREFIX): value for key, value in state.items() if key.startswith(start)}
    if not teacher:
        sys.exit(f"'{args.checkpoint}' has no teacher: it is no checkpoint of a PASS pre-training")
    write_checkpoint_file({'teacher': teacher}, args.out)
    print(f'{len(teacher)} tensors of the teacher: {args.out}')


if __name__ == '__main__':
    main()
