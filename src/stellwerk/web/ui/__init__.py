"""The pages people look at: view values in, HTML out. Routes, sessions and headers belong to whoever mounts them.

Drawing starts in `render`; `charts`, `gauges` and `axes` turn numbers into coordinates, `graph` places nodes, `words`
writes dates, numbers and hostile text. All markup is in `templates/`, where everything is escaped.
"""
