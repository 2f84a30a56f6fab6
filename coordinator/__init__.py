"""Makes the signed repository and runs the fleet: compiles the spec, shows the change, signs, publishes."""
