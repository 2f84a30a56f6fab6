"""X.509 in memory: bytes in, bytes out. No files, no network, no clock: `now` is always an argument."""
