"""One pure function per service: (Manifest, NodeFacts) -> the resources it needs, in the order of work."""
