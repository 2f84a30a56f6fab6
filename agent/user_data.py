"""EC2 user-data as people write it: a cloud-config with `runcmd: [[agent, enroll, JSON]]`, or a script with a line
`agent enroll 'JSON'`; plain, gzipped, or one part of a MIME multipart. Nothing in it is ever executed here; only the
one JSON argument is read.
"""

import email.message
import email.parser
import email.policy
import shlex
import zlib
from collections.abc import Iterator
from typing import Any

from agent.settings import Settings, decode
from units.errors import Invalid, Problem

MAX_BYTES = 16 * 1024  # EC2's limit, before base64
MAX_UNPACKED = 256 * 1024
MAX_PARTS = 32
_GZIP = b"\x1f\x8b"


def parse_user_data(data: bytes) -> Settings | None:
    """The enrolment in user-data, or None if it holds none. Raises Invalid for one that cannot be read."""
    if len(data) > MAX_BYTES:
        raise _invalid("", f"{len(data)} bytes; EC2 allows {MAX_BYTES}")
    found: list[Settings] = []
    for text in _texts(_unpacked(data)):
        for where, argument in _enrolments(text):
            settings = decode(argument.encode(), source=f"user-data {where}")
            if settings not in found:
                found.append(settings)
    if len(found) > 1:
        raise _invalid("runcmd", f"{len(found)} different enrolments; one is allowed")
    return found[0] if found else None


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return data
    inflater = zlib.decompressobj(wbits=31)
    try:
        text = inflater.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise _invalid("", f"is not gzip after all: {error}") from error
    if inflater.unconsumed_tail:
        raise _invalid("", f"unpacks to more than {MAX_UNPACKED} bytes")
    return text


def _texts(data: bytes) -> Iterator[str]:
    """Every part that cloud-init would run or obey."""
    head = data[:4096].lower()
    if b"content-type:" in head and b"multipart/" in head:
        message = email.parser.BytesParser(policy=email.policy.default).parsebytes(data)
        for number, part in enumerate(message.walk()):
            if number > MAX_PARTS:
                raise _invalid("", f"more than {MAX_PARTS} MIME parts")
            if not part.is_multipart():
                yield from _text_of(_payload(part))
    else:
        yield from _text_of(data)


def _payload(part: email.message.Message) -> bytes:
    payload = part.get_payload(decode=True)
    return _unpacked(payload) if isinstance(payload, bytes) else b""


def _text_of(data: bytes) -> Iterator[str]:
    text = data.decode("utf-8", errors="replace").lstrip("\ufeff\r\n\t ")
    if text.startswith(("#cloud-config", "#!")):
        yield text


def _enrolments(text: str) -> Iterator[tuple[str, str]]:
    """Each `agent enroll JSON` in a part, with the path of its JSON."""
    for where, command in _commands(text):
        words = _words(command)
        if len(words) < 2 or words[0].rpartition("/")[2] != "agent" or words[1] != "enroll":
            continue
        if len(words) != 3:
            raise _invalid(where, f"`agent enroll` takes one argument, found {len(words) - 2}")
        yield f"{where}[2]", words[2]


def _commands(text: str) -> Iterator[tuple[str, Any]]:
    """What a part runs, with where it stands: a word list or a line of shell."""
    if text.startswith("#!"):
        # Ours is one line, and its argument the JSON itself: a shell's variables are known to that shell alone.
        lines = enumerate(text.splitlines(), 1)
        yield from ((f"line {number}", line) for number, line in lines if "agent enroll '{" in line)
    else:
        yield from ((f"runcmd[{index}]", command) for index, command in enumerate(_runcmd(text)))


def _runcmd(text: str) -> list[Any]:
    import yaml

    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _invalid("", f"its cloud-config is not YAML: {str(error)[:200]}") from error
    commands = document.get("runcmd", []) if isinstance(document, dict) else []
    return commands if isinstance(commands, list) else []


def _words(command: Any) -> list[str]:
    if isinstance(command, list):
        return [str(word) for word in command]
    try:
        return shlex.split(command) if isinstance(command, str) else []
    except ValueError:  # an open quote in somebody else's shell line
        return []


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(
        "user-data-invalid",
        "user-data cannot be read as an enrolment",
        problems=(Problem(path=f"user-data {path}".strip(), message=message),),
        remedy="print it again with `coordinator userdata GROUP` and put that into the launch template unchanged",
    )
