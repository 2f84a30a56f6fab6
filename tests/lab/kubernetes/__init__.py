"""What the lab's nodes run as Kubernetes: the real binaries of KUBERNETES_BIN_DIR, or a named double of kubelet."""
