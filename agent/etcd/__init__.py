"""etcd from a node: two clients behind one face (ADR 0009), backups, restores, and the care of a member."""
