"""The process itself: sockets from systemd, credentials in a directory, an end without a person."""

import json
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from agent.issuer.answers import REFUSED
from agent.issuer.marks import mark_issued
from agent.issuer.service import Files, signing_authority
from pki.authority import Authority
from pki.keys import PrivateKeyPem, dump_private_key, make_key
from tests.agent.issuer.drafts import honest
from tests.agent.issuer.imds_double import imds
from tests.agent.issuer.running import exchange, post
from tests.agent.issuer.world import World
from tests.lab.cache import CHECKOUT
from units.errors import BootwrightError

LISTENING = 'exec 3<&"$1"; shift; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"'


def start(listener: socket.socket, *command: str, **environment: str) -> "subprocess.Popen[bytes]":
    """As systemd starts a socket-activated service: the socket is descriptor 3."""
    return subprocess.Popen(
        ["/bin/bash", "-c", LISTENING, "bash", str(listener.fileno()), sys.executable, "-m", *command],
        pass_fds=[listener.fileno()],
        cwd=CHECKOUT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_agent_issuer_serves_on_the_socket_that_systemd_hands_over(world: World, listener) -> None:
    directory = world.write_credentials()
    with start(listener, "agent", "issuer", CREDENTIALS_DIRECTORY=str(directory)) as process:
        _head, body = exchange(world, listener.getsockname()[1], post(b"{}", "NodeSTS1 e30"))
        process.send_signal(signal.SIGTERM)
        _output, journal = process.communicate(timeout=30)
    assert body == REFUSED.body
    assert b"code=proof-malformed" in journal
    assert process.returncode == -signal.SIGTERM


def test_the_process_issues_and_ends_by_itself_with_0_while_the_socket_stays(world: World, listener) -> None:
    asked = honest(world).asked()
    port = listener.getsockname()[1]
    with imds(honest(world).principal, honest(world).principal) as source:
        command = ("tests.agent.issuer.process", str(world.write_credentials()), source._base_url, "0.5")
        for _ in range(2):  # the second is started by a connection that came after the first had ended
            with start(listener, *command) as process:
                head, _body = exchange(world, port, post(asked.body, *asked.authorizations))
                assert head.startswith(b"HTTP/1.1 200"), process.stderr
                output, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    assert json.loads(output.splitlines()[-1])["peak_mib"] < 150


def test_without_sockets_it_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "issuer"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "systemctl start bootwright-issuer.socket" in done.stderr


def test_it_loads_no_sdk(world: World) -> None:
    program = (
        "import sys, agent.issuer.service; print([m for m in ('botocore','requests','boto3') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("missing", ["ca.key", "ca.crt", "issuer.json", "agent.json"])
def test_a_missing_credential_is_named(world: World, missing) -> None:
    directory = world.write_credentials()
    (directory / missing).unlink()
    with pytest.raises(BootwrightError, match=missing) as caught:
        Files.read(directory)
    assert caught.value.remedy


def test_while_one_authority_replaces_another_the_keys_own_certificate_signs(authority) -> None:
    new = Authority.create("kubernetes", datetime.now(UTC))
    old_pem, new_pem = authority.certificate.pem, new.certificate.pem
    old_key, new_key = (dump_private_key(each.key) for each in (authority, new))
    for bundle in (old_pem + new_pem, new_pem + old_pem):
        assert signing_authority(bundle, old_key).certificate.sha256 == authority.certificate.sha256
        assert signing_authority(bundle, new_key).certificate.sha256 == new.certificate.sha256


@pytest.mark.parametrize("key", [make_key(), PrivateKeyPem(b"rubbish")])
def test_a_key_of_no_certificate_is_fatal_and_does_not_print(authority, key) -> None:
    with pytest.raises(BootwrightError) as caught:
        signing_authority(authority.certificate.pem, key)
    assert caught.value.code == "issuer-credentials"
    assert "PRIVATE" not in str(caught.value)


def test_a_mark_names_the_node_and_its_group(tmp_path) -> None:
    for group in ("workers", "workers", "gpu"):
        mark_issued("ip-10-0-0-1.eu-west-1.compute.internal", group, tmp_path / "issued")
    (mark,) = (tmp_path / "issued").iterdir()
    assert (mark.name, mark.read_text()) == ("ip-10-0-0-1.eu-west-1.compute.internal", "gpu\n")
