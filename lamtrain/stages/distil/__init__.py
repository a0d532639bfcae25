"""Distil: a teacher -> a student that is as good where it will be used and many times faster, and the measurements that say so.

Rounds of exploring by dynamics, labelling by the teacher and training go on until the student's forces are the teacher's on trajectories that it has not
seen (DPA-2, arXiv:2312.15492, section 8; DP-GEN, arXiv:1910.12690).
"""
