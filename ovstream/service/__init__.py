"""Many streams in one process: supervised, observable, changed while they run."""

from ovstream.service.supervisor import Supervisor

__all__ = ["Supervisor"]
