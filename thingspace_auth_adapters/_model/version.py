"""The version of this package, for users, the build, and what calls of the endpoints say."""

__version__ = "0.1.0"
