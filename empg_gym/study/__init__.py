"""Studies: method × environment × seed, paired by construction, over worker processes; `empg-gym study STUDY.toml`.

`config` reads the file, `plan` turns it into training runs, `execute` runs them, `results` computes the numbers, `page` shows them.
"""
