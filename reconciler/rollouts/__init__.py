"""Roll-outs: how employees get to a newer image. A canary shows first that the image keeps what it
was told and given; then blanks, then employees in waves, each with a snapshot of its files. The
first that fails is put back, image and files, and ends the roll-out with its reason.

`steps` decides, `record` keeps, `parts` touches containers and files, `roller` does it in order.
"""
