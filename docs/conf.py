"""Sphinx's settings for this site: ``tox -e docs`` builds it."""

from __future__ import annotations

from thingspace_auth_adapters import __version__

project = "thingspace-auth-adapters"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["state-diagram.md"]  # design.md includes it

html_theme = "furo"
html_title = f"{project} {release}"
html_show_copyright = False

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings give the types
napoleon_numpy_docstring = False
