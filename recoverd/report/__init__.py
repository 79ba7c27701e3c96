"""What people read of clusters, plans and incidents, made of the plain data that the control API gives: on the status
page and in post-mortems. It asks nobody and knows no clock.
"""
