"""What is remembered of a cluster from the time when it was healthy, and the last words
of members that are mute. Pure.
"""
