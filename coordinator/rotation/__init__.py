"""Replacing keys under a running cluster: trust the new one, let it sign, give up the old one (etcd-pki.md 3.5)."""
