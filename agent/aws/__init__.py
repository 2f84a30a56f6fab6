"""The only code of the agent that touches AWS. SDK errors end here: callers see `units.errors`."""
