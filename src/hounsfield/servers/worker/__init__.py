"""The worker role: runs jobs."""
