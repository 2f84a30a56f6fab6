"""DOUBLES of kubelet and kube-apiserver, for machines without Kubernetes binaries. They run no pod.

The lab packs this folder into one zip archive, which is the "kubelet" that nodes install. It runs in the node's virtual
environment: PyYAML and cryptography are there.
"""
