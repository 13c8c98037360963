import csv
import os

import pytest

from glc.engine.clusters import write_clusters


def test_any_file_name_comes_back(tmp_path):
    names = ['a.jpg', 'b, "c".jpg', 'two\nlines.jpg', 'é/三.jpg', os.fsdecode(b'\xff.jpg')]
    path = tmp_path / 'new' / 'clusters.csv'
    write_clusters(path, names, [0, 1, 1, -1, 0])
    with path.open(newline='', encoding='utf-8', errors='surrogateescape') as file:
        assert list(csv.reader(file)) == [
            ['file', 'cluster'],
            *([name, cluster] for name, cluster in zip(names, ['0', '1', '1', '-1', '0'], strict=True)),
        ]


def test_a_failure_leaves_the_last_file(tmp_path):
    path = tmp_path / 'clusters.csv'
    write_clusters(path, ['a'], [3])
    with pytest.raises(ValueError, match='shorter'):
        write_clusters(path, ['a', 'b'], [3])
    assert path.read_text() == 'file,cluster\na,3\n'
    assert os.listdir(tmp_path) == ['clusters.csv']
