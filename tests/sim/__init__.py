"""A rollout over simulated fleets, with the real planner of waves and the real decision of a node."""
