"""`integration-api models`: see `verify`, whose options it shares."""

from integration_api.commands.verify import models as command

__all__ = ["command"]
