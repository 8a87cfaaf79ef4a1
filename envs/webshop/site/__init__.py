"""The shop as a web site: pages for people and browsers, rendered from the same `Page` as the text modes."""
