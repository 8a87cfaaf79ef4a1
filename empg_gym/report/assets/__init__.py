"""Template, style and scripts of the report page; a package, so that its files are found in a wheel as in a checkout."""
