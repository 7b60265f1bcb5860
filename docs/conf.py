"""How Sphinx builds these pages: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path

import tinycoro

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "tinycoro"
author = "tinycoro contributors"
version = release = tinycoro.__version__
copyright = author

extensions = ["sphinx.ext.autodoc", "c_headers", "docstrings"]
default_role = "code"
highlight_language = "python"
exclude_patterns = ["_build"]

nitpicky = True
# What is not ours is documented elsewhere, and building needs no network.
nitpick_ignore_regex = [(r"py:.*", r"(?!tinycoro\.).*"), (r"c:identifier", r".*")]

autodoc_member_order = "groupwise"
autodoc_typehints = "none"  # of what is written in C there are none to show; see _core.pyi

html_theme = "alabaster"
html_theme_options = {
    "description": "fibers, channels and servers outside the GIL, with asyncio's words",
    "fixed_sidebar": True,
    "page_width": "1180px",  # a line of 100 characters of code fits
    "body_max_width": "none",
    "code_font_size": "0.8em",
    "sidebar_width": "230px",
}
html_sidebars = {"**": ["about.html", "searchbox.html", "navigation.html"]}
html_copy_source = False
html_show_sphinx = False
