"""What each role of a cluster may do in AWS: IAM policies, written from the spec. Pure.

Everything is granted by exact bucket, folder, key and tag; nothing by a wildcard over clusters. docs/trust.md says what
each condition stops, and what only a live account can show.
"""

from coordinator.iam.documents import EC2_ONLY_ROLES, ROLES, Document, Wanted, policy, profiles, trust_policy
from coordinator.iam.place import Keys, Place, place_of

__all__ = [
    "EC2_ONLY_ROLES",
    "ROLES",
    "Document",
    "Keys",
    "Place",
    "Wanted",
    "place_of",
    "policy",
    "profiles",
    "trust_policy",
]
