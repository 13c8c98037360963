"""Person-like figures in front of surveillance-like cameras, drawn from random numbers."""

from .jobs import Job, SyntheticSpec, camera_of, draw, plan

__all__ = ['Job', 'SyntheticSpec', 'camera_of', 'draw', 'plan']
