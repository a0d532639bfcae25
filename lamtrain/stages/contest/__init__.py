"""Contest: structures at rest that nobody has had, in the manner of the LAM Crystal Philately -> how many of a submission count, and why not the others.

submit: structures -> relaxed by a model -> a folder;  score: that folder, a hull -> checks -> energy above the hull -> copies -> report
"""
