"""Health endpoints on this machine's own addresses."""

import warnings
from functools import cached_property
from typing import TYPE_CHECKING

from units.host import Answer

if TYPE_CHECKING:
    import requests  # 40 ms of CPU, which a worker's boot never needs

_SECONDS = 2.0
_MOST = 4096  # bytes of an answer that anybody reads


class LoopbackProbes:
    """Implements `units.host.Probes`."""

    @cached_property
    def _session(self) -> "requests.Session":
        import requests

        session = requests.Session()
        session.trust_env = False  # a proxy in the environment must not answer for us
        return session

    def get(self, url: str) -> Answer | None:
        import requests

        try:
            with warnings.catch_warnings():
                # Our own address, and often before the certificate exists: what answers is judged, not who.
                warnings.simplefilter("ignore")
                with self._session.get(
                    url, timeout=_SECONDS, verify=False, allow_redirects=False, stream=True
                ) as response:
                    body = next(response.iter_content(_MOST), b"")
                    return Answer(response.status_code, body.decode(errors="replace"))
        except requests.RequestException:
            return None
