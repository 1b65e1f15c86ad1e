"""The version of this package, for users, and for what calls of the endpoints say.

The build takes it from setup.cfg.
"""

__version__ = "0.1.0"
