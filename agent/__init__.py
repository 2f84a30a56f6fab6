"""Makes ONE machine so: gathers facts, verifies its manifest, converges the plan, reports."""
