"""Recording what a notebook or script does without being asked: the work behind `import stellwerk.auto`.

The process that is recorded only takes notes, which a thread puts into the outbox; a process of our own, the courier,
does the rest: it reads and hashes files, and sends. Nothing here may raise into the user's code, or keep it waiting.
"""
