"""Control-plane machines as namespaces of this one: own network, own /etc, own processes, real etcd, the agent's plan.

Seconds instead of the lab's minutes, so that many seeds fit. What they are not: a kernel of their own (a power cut here
keeps what was written and not yet synced), EBS and EC2. The lab has those (tests/lab).
"""
