"""A page of ListObjectsV2. Three fields of a flat document, so no XML parser with its entities."""

import re
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from urllib.parse import unquote

_OBJECT = re.compile(rb"<Contents>(.*?)</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>([^<]*)</Key>")
_SIZE = re.compile(rb"<Size>(\d+)</Size>")
_MODIFIED = re.compile(rb"<LastModified>([^<]*)</LastModified>")
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)</NextContinuationToken>")


@dataclass(frozen=True, slots=True)
class Listed:
    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Page:
    objects: tuple[Listed, ...]
    next_token: str  # empty on the last page


def read_page(body: bytes) -> Page:
    """`body` of a request with encoding-type=url. What is no such page lists nothing."""
    objects = []
    for block in _OBJECT.findall(body):
        key, size, modified = _KEY.search(block), _SIZE.search(block), _MODIFIED.search(block)
        if key and size and modified:
            name = unquote(unescape(key[1].decode()))
            objects.append(Listed(name, int(size[1]), datetime.fromisoformat(modified[1].decode())))
    token = _TOKEN.search(body)
    return Page(tuple(objects), unescape(token[1].decode()) if token else "")
