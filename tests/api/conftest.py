"""The hub that all tests of this folder share."""

from whole_hub import bao, hub, hub_port

__all__ = ["bao", "hub", "hub_port"]
