from tests.agent.linux.loops import make_disk

__all__ = ["make_disk"]
