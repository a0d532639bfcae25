"""Integration: files of a user -> what is in them, what of it a pool or a model has, and how it would be trained on; the pool changes when that is accepted.

found (files -> cards -> a store of their own, copies, coverage) -> proposal (head, weight) -> run (a folder with a mixture and a page) -> accept
"""
