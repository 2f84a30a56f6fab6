"""The issuer's stable codes: what an operator looks up, and what to do about each.

Before a caller has proven an identity none of them leaves the issuer's journal (N20).
"""

from collections.abc import Mapping
from types import MappingProxyType

from units.errors import Refused, Retryable

_PROOF = "the request is no proof of an EC2 instance; if it came from a node of yours, compare agent versions"
_WAIT = "this passes by itself; the node asks again"
_RESET = "if the machine is what you think it is: `agent issuer reset INSTANCE` on a control-plane node"

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        # Told to nobody: the journal's words for a proof that is none.
        "request-malformed": "compare the agent's version on the node with the one here",
        "proof-missing": _PROOF,
        "proof-malformed": _PROOF,
        "proof-wrong-time": "check the node's clock (`chronyc tracking`) and this machine's",
        "proof-refused": "STS does not confirm the signature: another cluster's name or uid in it, another body, a "
        "stolen and ended token; or identity.sts_endpoint is not of this region",
        "sts-answer-refused": "what answers at identity.sts_endpoint is not STS: look for a proxy on the way",
        "identity-wrong-account": "only instances of the cluster's own account may join",
        "identity-not-an-instance": "the caller signed with another identity than identity.source in the manifest says",
        "certificate-refused": "a renewal needs the node's own kubelet-client certificate",
        # Told to the instance that has proven itself.
        "instance-wrong-account": "the instance belongs to another account: launch it in the cluster's own",
        "instance-wrong-region": "launch the instance in the cluster's region",
        "instance-not-running": "the instance is on its way out; nothing to do",
        "instance-other-vpc": "launch the instance in a subnet of the VPC that cluster.yaml names",
        "instance-wrong-cluster": "the instance needs the tag kubernetes.io/cluster/NAME = owned, or shared",
        "instance-wrong-group": "the instance needs the tag bootwright.io/group with the name of a worker group",
        "instance-wrong-profile": "give the launch template the instance profile that cluster.yaml binds to the group",
        "instance-imds-v1": "set MetadataOptions HttpTokens=required in the launch template, or with aws ec2 "
        "modify-instance-metadata-options",
        "instance-imds-hops": "set MetadataOptions HttpPutResponseHopLimit=1: pods must not reach IMDS",
        "instance-no-address": "EC2 reports no private address or DNS name for it; look at its network interface",
        "instance-too-old": f"first certificates are for the first hour. Replace it; or, {_RESET}",
        "identity-key-changed": "another key has this machine's identity already. If its disk was replaced, and "
        "nobody else can be at it: `agent issuer reset INSTANCE` on a control-plane node; else replace the instance",
        "identity-unknown": f"no certificate was ever issued to this machine here. {_RESET}",
        "identity-record-invalid": "somebody changed the record in S3: `agent issuer reset INSTANCE` writes it anew",
        "node-already-ready": f"a Ready node of this name is in the cluster. Find out which machine it is; {_RESET}",
        "callback-refused": "open identity.callbackPort to the control plane in the workers' security group. If it "
        "is open, somebody uses this instance's credentials from another machine: find out who reached its IMDS",
        "csr-refused": "the CSR is not signed by its own key, or with a key of another kind; compare agent versions",
        # Not now.
        "instance-unknown": "right after a launch EC2 may not know it yet; this passes within a minute",
        "sts-unreachable": "check the route from the control plane to STS: an interface endpoint or NAT, its "
        "security group, and DNS",
        "sts-throttled": _WAIT,
        "ec2-unreachable": "check the route from the control plane to EC2: an interface endpoint or NAT, and DNS",
        "ec2-throttled": _WAIT,
        "ec2-refused": "allow ec2:DescribeInstances in the control plane's policy; its journal has EC2's words",
        "ledger-unreachable": "check the control plane's route to S3, and that its policy allows identity/*",
        "ledger-contended": _WAIT,
        "api-server-unreachable": "check kube-apiserver on the control plane: `agent status` there",
        "throttled": _WAIT,
        "issuer-busy": _WAIT,
        "issuer-failed": "the issuer's journal has the reason: journalctl -u bootwright-issuer",
    }
)


def refused(code: str, message: str) -> Refused:
    return Refused(code, message, remedy=REMEDIES[code])


def later(code: str, message: str, *, after: float = 5.0) -> Retryable:
    return Retryable(code, message, remedy=REMEDIES[code], after=after)
