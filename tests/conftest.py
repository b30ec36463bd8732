"""What tests of every feature share: the published data, which lies beside the project if present."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples each time, however slow the machine is: a release must not fail by chance.
settings.register_profile(
    "steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of published data; the test is skipped where it is absent."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published data is not at ../shared/data")
    return folder


@pytest.fixture(scope="session")
def captured_tree(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks one of the archives of captured /proc and /sys trees, once; `captured_tree("procfs")`."""
    unpacked: dict[str, Path] = {}

    def tree(name: str) -> Path:
        if name not in unpacked:
            unpacked[name] = _unpack(
                shared_data / "fixtures" / f"{name}_fixtures.tar.gz", tmp_path_factory.mktemp(name)
            )
        return unpacked[name]

    return tree


def _unpack(archive: Path, folder: Path) -> Path:
    """Regular files only: the archives hold links that lead out of the folder."""
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not in ../shared/data/fixtures")
    with tarfile.open(archive) as tar:
        for member in tar:
            target = (folder / member.name).resolve()
            content = tar.extractfile(member) if member.isfile() else None
            if content is None or not target.is_relative_to(folder.resolve()):
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
    return folder
