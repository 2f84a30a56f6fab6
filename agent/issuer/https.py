"""HTTPS inside the cluster: only the cluster's own authority is trusted, and a client may have a certificate."""

import http.client
import ssl
from urllib.parse import urlsplit

from agent.aws.http import Http
from agent.memory_file import in_memory


class ClusterHttp(Http):
    """As agent.aws.http, with a TLS context of its own. For one thread."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        super().__init__()
        self._tls = tls

    def _connect_later(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        parts = urlsplit(f"{scheme}://{netloc}")
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, context=self._tls)


def client_context(bundle_pem: str, credential_pem: bytes | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, verified against this bundle only. The credential reaches OpenSSL without touching a disk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=bundle_pem)
    if credential_pem is not None:
        with in_memory(credential_pem) as path:
            context.load_cert_chain(path)
    return context


def server_context(credential_path: str, bundle_pem: str) -> ssl.SSLContext:
    """A client certificate is optional; one that the bundle does not vouch for ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(credential_path)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=bundle_pem)
    # One request per connection: nothing is resumed, so no ticket is worth its signature; nobody renegotiates.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    return context
