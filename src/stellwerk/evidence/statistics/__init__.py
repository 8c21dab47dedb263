"""The statistics behind a verdict, as pure functions of numbers. What follows from them is decided elsewhere.

Import the module that is needed; nothing is loaded from here, because numpy and scipy are heavy.
"""
