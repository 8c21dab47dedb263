"""What a change of a branch comes to, as values and as the documents that merge requests and CI systems read.

How it is gathered from the rooms is in `workspace.changing`.
"""
