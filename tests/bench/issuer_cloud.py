"""AWS and an API server for the issuer's benchmark, lean enough not to be what is measured.

    python -m tests.bench.issuer_cloud DIRECTORY INSTANCES

The doubles are those of the issuer's tests: signatures are checked, conditional writes are atomic. Prints the two
URLs, serves until its standard input ends.
"""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

from tests.agent.issuer.aws_doubles import AwsDouble, InstanceDouble, Reply, instance_identity
from tests.agent.issuer.imds_double import respond_with

Respond = Callable[[str, str, dict[str, str], bytes], Reply]


def instance_id(number: int) -> str:
    return f"i-0{number:016x}"


def dns_name(number: int) -> str:
    return f"ip-10-{number >> 16 & 255}-{number >> 8 & 255}-{number & 255}.eu-west-1.compute.internal"


async def _serve(respond: Respond, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1 with Content-Length, kept alive: what agent.aws.http speaks."""
    while head := await _head(reader):
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        reply = respond(method, path, headers, body)
        more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        writer.write(
            f"HTTP/1.1 {reply.status} X\r\n{more}Content-Length: {len(reply.body)}\r\n\r\n".encode() + reply.body
        )
        await writer.drain()
    writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\r\n\r\n"))[:-4]
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def _main(directory: Path, count: int) -> None:
    aws = AwsDouble()
    principals = [instance_identity(instance_id(n), akid=f"ASIA{n:016d}") for n in range(count)]
    aws.sts.principals = {each.akid: each for each in principals}
    aws.ec2.instances = {
        instance_id(n): InstanceDouble(instance_id(n), private_dns_name=dns_name(n)) for n in range(count)
    }
    imds = respond_with(principals[0], principals[0])

    def anybody(method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        return (imds if path.startswith("/latest/") else aws.respond)(method, path, headers, body)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(str(directory / "api.pem"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_verify_locations(str(directory / "ca.crt"))
    plain = await asyncio.start_server(lambda r, w: _serve(anybody, r, w), "127.0.0.1", 0)
    secured = await asyncio.start_server(lambda r, w: _serve(lambda *_: Reply(404), r, w), "127.0.0.1", 0, ssl=tls)
    ports = [server.sockets[0].getsockname()[1] for server in (plain, secured)]
    sys.stdout.write(json.dumps([f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}"]) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)  # whoever is still connected is nobody's business any more


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
