"""Template of the page."""
