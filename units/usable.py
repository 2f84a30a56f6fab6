"""Whether what lies at a path still works as a certificate, however due for renewal it is."""

from dataclasses import replace

from pki.certificate import Certificate, load_credential
from pki.errors import PkiError
from pki.profiles import PROFILES
from pki.renewal import problems
from pki.request import CertificateRequest
from units.host import Host


def usable_leaf(host: Host, path: str, request: CertificateRequest, bundle: str) -> Certificate | None:
    """The certificate there, if it is the one that `request` wants, signed by one of `bundle`, with its key, and valid
    now; else None. Being due, or of a longer life than one would ask for today, takes nothing from it.
    """
    state = host.files.read(path)
    if state is None or state.content is None:
        return None
    try:
        leaf = load_credential(state.content).leaf
    except PkiError:
        return None
    wanted = replace(request, lifetime=PROFILES[request.profile].longest_lifetime)
    # At the moment of its issue nothing is due: what is left are the reasons that no time can heal.
    if problems(state.content, wanted, bundle.encode(), leaf.not_before, ""):
        return None
    return leaf if leaf.not_before <= host.clock.now() < leaf.not_after else None
