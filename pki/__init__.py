"""X.509 in memory: bytes in, bytes out.

Nothing here opens a file, a socket or a clock: `now` is always an argument, an aware datetime. The only randomness is
cryptography's own, for keys and serial numbers. The one dependency is cryptography.
"""
