"""Who asks, and whether they may: every request has a principal, and every decision passes `authorise`."""

from labctl.auth.principals import (
    LOCAL_ADMINISTRATOR,
    Decision,
    Judge,
    Principal,
    Resource,
    authorise,
    authorise_list,
    may,
)

__all__ = [
    "LOCAL_ADMINISTRATOR",
    "Decision",
    "Judge",
    "Principal",
    "Resource",
    "authorise",
    "authorise_list",
    "may",
]
