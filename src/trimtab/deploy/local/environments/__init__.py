"""Virtual environments for functions with requirements of their own: made once by `uv`, found again by their content."""

from trimtab.deploy.local.environments.build import Environment, ensure
from trimtab.deploy.local.environments.sweep import sweep

__all__ = ["Environment", "ensure", "sweep"]
