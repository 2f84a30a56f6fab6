"""`agent support-bundle`: what somebody else needs to understand this node, and none of its secrets."""
