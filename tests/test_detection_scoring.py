"""The scorer of the detection benchmark against NAB's published scores."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.detection_series import (
    PROFILES,
    nab_files,
    nab_score,
    normalised,
    published_nab,
    published_rows,
)


def test_nabs_published_scores_of_every_file_come_out(shared_data: Path) -> None:
    files = nab_files(shared_data)
    assert len(files) == 24
    for detector in ("windowedGaussian", "twitterADVec"):
        rows = published_rows(detector, shared_data)
        for profile, weights in PROFILES.items():
            expected = published_nab(profile, shared_data)[detector]
            for file in files:
                threshold, score = expected[file.name]
                detections = [row for row, value in enumerate(rows[file.name]) if value >= threshold]
                found = nab_score(len(file.values), file.windows, detections, weights)
                assert found == pytest.approx(score, abs=1e-9), (detector, profile, file.name)


def test_a_perfect_detector_has_100_and_a_silent_one_0(shared_data: Path) -> None:
    files = nab_files(shared_data)
    for weights in PROFILES.values():
        perfect = silent = 0.0
        for file in files:
            first = [left for left, _ in file.windows]
            perfect += nab_score(len(file.values), file.windows, first, weights)
            silent += nab_score(len(file.values), file.windows, [], weights)
        assert normalised(perfect, files, weights) == pytest.approx(100)
        assert normalised(silent, files, weights) == 0
