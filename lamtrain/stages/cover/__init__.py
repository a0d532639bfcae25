"""Coverage: a model and frames -> whether what it was trained on covers them, by what, and which frames decide.

sample (of training) -> sketch (travels with the checkpoint) -> scores of frames, gates, labels -> verdict -> report
"""
