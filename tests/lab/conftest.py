"""Fixtures of the lab's tests: a region on loopback with machine doubles, and bare moto beside it."""

from tests.lab.region.fixtures import bare, lab, region, strict

__all__ = ["bare", "lab", "region", "strict"]
