"""Downloads that resume, retry and are checked."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pooch
import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

from ltbench.errors import DataError

TRIES, WAIT, TIMEOUT = 5, 1.0, 30.0  # attempts, seconds before the second one (doubling), seconds of silence
BLOCK = 1 << 15  # bytes; a broken connection loses at most one block


class _Again(Exception):
    """A failure that another attempt may cure."""


def download_all(sources: Mapping[str, str], folder: Path) -> Path:
    """Download file name -> URL into `folder` and return it; files that are there already are kept."""
    for name, url in sources.items():
        download(url, folder / name)
    return folder


def download(url: str, target: Path, *, checksum: str | None = None, tries: int = TRIES, wait: float = WAIT) -> Path:
    """`url` as the file `target`, through TARGET.part, which a later call continues.

    checksum: "md5:..." or "sha256:...". DataError: unreachable, refused, HTML instead of a file, truncated, wrong hash.
    """
    if target.is_file() and _matches(target, checksum):
        return target
    part = target.with_name(target.name + ".part")
    by_hand = f"try again later, or download it by hand to {target}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(tries):
            resumed = part.exists()
            try:
                _attempt(url, part)
                _refuse_html(url, part, by_hand)
                if _matches(part, checksum):
                    return part.replace(target)
                found = pooch.file_hash(str(part), alg=_split(checksum)[0])
                part.unlink()
                if not resumed:
                    raise DataError(f"{url} has the hash {found}, expected {checksum}; the file changed: {by_hand}")
            except (_Again, requests.RequestException) as error:
                reason = error
                if attempt + 1 < tries:
                    time.sleep(wait * 2**attempt)
    except OSError as error:
        if isinstance(error, requests.RequestException):
            raise
        raise DataError(
            f"cannot write {target}: {error.strerror or error}; free space or choose --data-root"
        ) from error
    if isinstance(reason, requests.ConnectionError | requests.Timeout):
        host = url.split("/")[2]
        raise DataError(f"cannot reach {host} after {tries} tries; is this machine online? {by_hand}") from reason
    raise DataError(f"{url} failed {tries} times, last: {reason}; {by_hand}") from reason


def _attempt(url: str, part: Path) -> None:
    """Append what is missing to `part`; _Again for what another attempt may cure."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == 416:  # nothing after `have`: complete, or of another file
            if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                return
            part.unlink()
            raise _Again("the server has fewer bytes than were downloaded")
        if answer.status_code in (408, 429) or answer.status_code >= 500:
            raise _Again(f"status {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise DataError(
                f"{url} answers with status {answer.status_code}; see the data set's homepage for a new address"
            )
        resumes = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        have = have if resumes else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and not answer.headers.get("Content-Encoding") else None
        with part.open("ab" if have else "wb") as stream, _progress() as progress:
            task = progress.add_task(part.stem, total=total, completed=have)
            for block in answer.iter_content(BLOCK):
                stream.write(block)
                progress.advance(task, len(block))
    size = part.stat().st_size
    if total is not None and size < total:
        raise _Again(f"truncated, {size} of {total} bytes")


def _refuse_html(url: str, part: Path, by_hand: str) -> None:
    with part.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")) or not start:
        part.unlink()
        what = "a web page" if start else "nothing"
        raise DataError(f"{url} sent {what} in place of the file (a login or an error page); {by_hand}")


def _matches(path: Path, checksum: str | None) -> bool:
    algorithm, digest = _split(checksum)
    return not digest or pooch.file_hash(str(path), alg=algorithm) == digest.lower()


def _split(checksum: str | None) -> tuple[str, str]:
    algorithm, _, digest = (checksum or "sha256:").partition(":")
    return algorithm, digest


def _progress() -> Progress:
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, transient=True, disable=not sys.stderr.isatty())
