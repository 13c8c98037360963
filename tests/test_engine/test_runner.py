from glc.apis import build_runner, prepare_config
from glc.utils.versions import versions
from tests.runs import log, tiny_config


def test_log_begins_with_versions_and_says_which_data_were_found(images, tmp_path):
    runner = build_runner(prepare_config(tiny_config(images, tmp_path)))
    runner.build_dataloader(runner.cfg.train_dataloader)
    runner.build_dataloader(runner.cfg.test_dataloader)
    lines = log(runner).splitlines()
    assert lines[0].endswith(versions())
    for found in (
        f"Market1501 train in '{images}': 48 images, 8 identities, 2 cameras",
        f"Market1501 query in '{images}': 8 images, 4 identities, 2 cameras",
        f"Market1501 gallery in '{images}': 24 images, 4 identities, 2 cameras",
    ):
        assert sum(line.endswith(found) for line in lines) == 1
