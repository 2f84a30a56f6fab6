"""`make bench`: what a boot, a poll and a publish cost. Figures to compare, never to assert; counts are in tests."""
