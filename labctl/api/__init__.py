"""The HTTP API under /api/v1, its documentation page, health and metrics."""

from labctl.api.app import create_app

__all__ = ["create_app"]
