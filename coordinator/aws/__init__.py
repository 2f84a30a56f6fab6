"""The only code of the coordinator that touches AWS. SDK errors end here: callers see `units.errors`."""
