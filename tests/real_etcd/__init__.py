"""Real etcd on loopback, with TLS and client certificates as on a node."""
