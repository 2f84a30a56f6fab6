"""What a node must look like. Pure: values in, values out; the machine is always handed in as a `Host`.

Nothing here opens a file, asks a clock or starts a process; import-linter proves it (pyproject.toml). The same
`plan()` therefore runs on a node, and in `coordinator publish` against a machine in memory.
"""
