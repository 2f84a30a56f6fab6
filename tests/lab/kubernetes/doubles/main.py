"""Which double is meant: the kubelet that systemd starts, or the API server that this kubelet starts."""

import sys

from . import apiserver, kubelet


def main() -> int:
    if sys.argv[1:2] == [kubelet.APISERVER]:
        return apiserver.main(sys.argv[2:])
    return kubelet.main(sys.argv[1:])
