"""Hands objects of the store to python-tuf, in memory and bounded.

403 and 404 go to the client as such: for `N.root.json` they mean that there is no newer root, since a node needs no
s3:ListBucket. Everything else that S3 says goes past python-tuf, as it is, to whoever asked for the refresh.
"""

from collections.abc import Iterator

from tuf.api.exceptions import DownloadHTTPError, DownloadLengthMismatchError
from tuf.ngclient.fetcher import FetcherInterface

from agent import attacks
from agent.attacks import Seen
from agent.aws.s3 import Store
from agent.aws.s3_errors import AccessDenied, NoSuchKey, TooLong
from units.errors import BootwrightError


class StoreFetcher(FetcherInterface):
    """`url` is a key. `seen` is what was fetched last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._denied: AccessDenied | None = None
        self.seen = Seen("the bootstrap root")

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """Instead of the base class's, which writes a temporary file: a full /tmp must not stop a verification."""
        self.seen = Seen(url)
        try:
            body = self._store.get(url, max_bytes=max_length).body or b""
        except (NoSuchKey, AccessDenied) as error:
            self._denied = error if isinstance(error, AccessDenied) else None
            raise DownloadHTTPError(error.message, 404 if isinstance(error, NoSuchKey) else 403) from error
        except TooLong as error:
            raise DownloadLengthMismatchError(error.message) from error
        self.seen = Seen(url, body)
        return body

    def missing(self) -> BootwrightError:
        """What to say of the 403 or 404 that the client could not go on from."""
        return self._denied or attacks.missing(self.seen.file)

    def _fetch(self, url: str) -> Iterator[bytes]:
        raise NotImplementedError(url)  # python-tuf streams targets only, and the repository fetches those itself
