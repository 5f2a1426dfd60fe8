"""The worker role: runs jobs, and what is to be done every so often."""

from hounsfield.servers.worker.dead import tell_of_dead
from hounsfield.servers.worker.loop import Handler, Lane, Periodic, Worker

__all__ = ["Handler", "Lane", "Periodic", "Worker", "tell_of_dead"]
