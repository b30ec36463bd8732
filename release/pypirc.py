"""The file with the tokens, `.pypirc`, looked at before anything is sent."""

from __future__ import annotations

import configparser
import os
import stat
from pathlib import Path

from release.problem import Problem


def path() -> Path:
    """`RELEASE_PYPIRC`, or ~/.pypirc."""
    return Path(os.environ.get("RELEASE_PYPIRC") or Path.home() / ".pypirc")


def check(file: Path, repository: str) -> None:
    """Refuse a file that others can read, that is no .pypirc, or that lacks the repository.

    Without a file the credentials come from TWINE_USERNAME and TWINE_PASSWORD or from the keyring.
    """
    if not file.exists():
        return
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise Problem(
            f"{file} holds secrets and can be read by others; run `chmod 600 {file}` and renew the tokens."
        )
    section = _section(file, repository)
    if section is None:
        if not os.environ.get("TWINE_PASSWORD"):
            raise Problem(f"{file} has no section [{repository}]; add it with `username` and `password`.")
        return
    url = section.get("repository", "")
    if url and not url.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise Problem(
            f"`repository` in [{repository}] of {file} is {url!r}, to which a token must not be sent; give "
            "an "
            "https:// address."
        )
    if section.get("password", "").startswith("pypi-") and section.get("username") != "__token__":
        raise Problem(
            f"[{repository}] of {file} has a token with the username {section.get('username')!r}; set "
            "`username = __token__`."
        )


def _section(file: Path, repository: str) -> dict[str, str] | None:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text())
    except (configparser.Error, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].replace("<string>", file.name)
        raise Problem(
            f"{file} is not a .pypirc ({reason}); it consists of sections such as [{repository}] with lines "
            "`username = ...` and `password = ...`."
        ) from None
    return dict(parser.items(repository)) if parser.has_section(repository) else None
