"""The issuer: signs workers' certificates on a control-plane node, after it has made sure who asks (docs/adr/0008)."""
