"""From a version number to a verified release.

`python -m release --help` lists the commands; docs/publishing.md explains them.
"""
