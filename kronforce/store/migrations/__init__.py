"""Migrations: the truth of a database. `main/` and `output/` are histories of their own.

Forward only, and safe while the previous release runs: expand first, contract
a release later. Each stands alone and never imports `tables/`, which moves on.
"""
