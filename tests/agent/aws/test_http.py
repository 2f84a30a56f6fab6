import time

import pytest

from agent.aws.http import Broken, Http, Timeouts, TooLarge


def fetch(url: str, *, total: float = 5.0, limit: int = 1000) -> bytes:
    with Http().exchange("GET", url, headers={}, timeouts=Timeouts(1.0, 2.0, total)) as response:
        return response.body(limit=limit)


def test_redirects_are_not_followed(server, answer) -> None:
    server.respond = lambda _m, path, *_: (
        answer(302, headers={"Location": f"{server.url}/elsewhere"}) if path == "/" else answer(200, b"wrong")
    )
    with Http().exchange("GET", f"{server.url}/", headers={}, timeouts=Timeouts()) as response:
        assert response.status == 302
    assert [path for _, path, *_ in server.requests] == ["/"]


def test_proxies_and_netrc_of_the_environment_are_ignored(server, answer, monkeypatch, tmp_path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password x\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    server.script(answer(200, b"direct"))
    with Http().exchange("GET", server.url, headers={"authorization": "AWS4 ours"}, timeouts=Timeouts()) as response:
        assert response.body(limit=10) == b"direct"
    assert server.requests[0][2]["authorization"] == "AWS4 ours"


def drip_body(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(handler)


def drip_endless_body(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    drip(handler)


def drip_headers(handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(handler)


def drip(handler) -> None:
    try:
        for _ in range(600):
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


@pytest.mark.parametrize("slow", [drip_body, drip_endless_body, drip_headers])
def test_a_slow_drip_ends_at_the_deadline_of_the_whole_exchange(server, slow) -> None:
    server.raw = slow
    with pytest.raises(Broken, match="no complete answer within"):
        fetch(f"{server.url}/", total=0.5, limit=10**6)


def test_a_body_longer_than_allowed_is_not_read_on(server) -> None:
    def endless(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"400\r\n" + b"y" * 1024 + b"\r\n")
        except OSError:
            pass

    server.raw = endless
    with pytest.raises(TooLarge):
        fetch(f"{server.url}/", limit=5000)


def test_a_body_cut_short_is_broken_not_shorter(server) -> None:
    server.raw = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this")
    with pytest.raises(Broken):
        fetch(f"{server.url}/")


def test_a_compressed_answer_is_never_unpacked(server, answer) -> None:
    bomb = b"\x1f\x8b" + b"\0" * 50
    server.script(answer(200, bomb, {"Content-Encoding": "gzip"}))
    assert fetch(f"{server.url}/") == bomb
    assert server.requests[0][2]["accept-encoding"] == "identity"


def test_a_refused_connection_says_so_in_plain_words() -> None:
    with pytest.raises(Broken) as caught:
        fetch("http://127.0.0.1:1/")
    assert str(caught.value) == "Connection refused"


@pytest.fixture
def https_server(answer):
    """A server with a certificate for 127.0.0.1, from an authority of its own."""
    import ssl
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    import trustme

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, *_: object) -> None:
            pass

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}/", authority
    server.shutdown()
    server.server_close()


def test_a_certificate_of_an_unknown_authority_is_refused(https_server) -> None:
    with pytest.raises(Broken, match="certificate verify failed"):
        fetch(https_server[0])


def test_the_systems_authorities_are_trusted(https_server, tmp_path, monkeypatch) -> None:
    url, authority = https_server
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))  # OpenSSL's own place for the system's store
    assert fetch(url) == b"secret"
    with pytest.raises(Broken, match="certificate verify failed"):
        fetch(url.replace("127.0.0.1", "localhost"))


def test_an_idle_connection_that_the_server_closed_is_opened_again(server) -> None:
    server.raw = lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none")
    http = Http()
    for _ in range(3):
        with http.exchange("GET", server.url, headers={}, timeouts=Timeouts()) as response:
            assert response.body(limit=10) == b"one"
    assert len(server.requests) == 3


def test_a_connection_is_used_again(server, answer) -> None:
    server.script(answer(200, b"one"))
    ports = set()
    server.respond = lambda *_: answer(200, b"one")
    http = Http()
    for _ in range(3):
        with http.exchange("GET", server.url, headers={}, timeouts=Timeouts()) as response:
            response.body(limit=10)
        ports.add(http._connections[server.url].sock.getsockname())
    assert len(ports) == 1


def test_what_was_not_read_to_its_end_spoils_no_later_answer(server, answer) -> None:
    server.script(answer(200, b"x" * 5_000_000), answer(200, b"two"))
    http = Http()
    with (
        http.exchange("GET", server.url, headers={}, timeouts=Timeouts()) as response,
        pytest.raises(TooLarge),
    ):
        response.body(limit=10)
    with http.exchange("GET", server.url, headers={}, timeouts=Timeouts()) as response:
        assert response.body(limit=10) == b"two"
